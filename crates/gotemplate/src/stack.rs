//! How much of the thread's stack is in use. Templates nest as deeply as their writers like; the stack does not.

/// A budget of stack, counted from where it was made.
#[derive(Clone, Copy)]
pub(crate) struct Stack {
    base: usize,
    bytes: usize,
}

impl Stack {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { base: here(), bytes }
    }

    /// What nobody else uses: half of what the smallest of threads have.
    pub(crate) fn standard() -> Self {
        Self::new(STANDARD_BYTES)
    }

    pub(crate) fn is_spent(&self) -> bool {
        here().abs_diff(self.base) > self.bytes
    }
}

/// An address in the frame of the caller, more or less.
#[inline(never)]
fn here() -> usize {
    let local = 0u8;
    std::ptr::from_ref(std::hint::black_box(&local)).addr()
}

/// Threads of tests have 2 MiB, and somebody has called us.
pub(crate) const STANDARD_BYTES: usize = 1 << 20;
