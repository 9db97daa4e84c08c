//! RSA signatures for certificates that stand in for real ones. Nothing here keeps a secret: neither time nor memory is hidden.

use super::der;

/// A private key.
pub(crate) struct PrivateKey {
    modulus: Vec<u8>,
    exponent: Vec<u8>,
    private: Vec<u8>,
}

impl PrivateKey {
    /// From PKCS#1. Not the key of anybody who would sign with it: an even, tiny or huge modulus is none.
    pub(crate) fn from_pkcs1(bytes: &[u8]) -> Option<Self> {
        let items = der::read_sequence(bytes)?;
        let number = |index: usize| {
            let item = items.get(index).filter(|item| item.tag == der::INTEGER)?;
            Some(item.content[item.content.iter().take_while(|byte| **byte == 0).count()..].to_vec())
        };
        let key = Self { modulus: number(1)?, exponent: number(2)?, private: number(3)? };
        let odd = key.modulus.last().is_some_and(|byte| byte & 1 == 1);
        (odd && (64..=1024).contains(&key.modulus.len()) && key.private.len() <= key.modulus.len())
            .then_some(key)
    }

    /// The public key, as PKCS#1 has it.
    pub(crate) fn public(&self) -> Vec<u8> {
        der::write_all(
            der::SEQUENCE,
            &[der::write_integer(&self.modulus), der::write_integer(&self.exponent)],
        )
    }

    /// RSASSA-PKCS1-v1_5 of what a hash function says, named in `prefix` (RFC 8017, 8.2.1).
    pub(crate) fn sign(&self, prefix: &[u8], hash: &[u8]) -> Vec<u8> {
        let length = self.modulus.len();
        let fill = length - 3 - prefix.len() - hash.len();
        let message = [&[0, 1], vec![0xFF; fill].as_slice(), &[0], prefix, hash].concat();
        let mut signature = power(&message, &self.private, &self.modulus);
        signature.drain(..signature.len() - length);
        signature
    }
}

/// `base ^ exponent mod modulus`, for an odd modulus (Montgomery).
fn power(base: &[u8], exponent: &[u8], modulus: &[u8]) -> Vec<u8> {
    let modulus = limbs(modulus, modulus.len().div_ceil(8));
    let size = modulus.len();
    let inverse = negative_inverse(modulus[0]);
    // R² mod the modulus, by doubling 1 as often as R² has bits.
    let mut square = vec![0; size];
    square[0] = 1;
    for _ in 0..size * 128 {
        double(&mut square, &modulus);
    }
    let one = {
        let mut one = vec![0; size];
        one[0] = 1;
        one
    };
    let base = multiply(&limbs(base, size), &square, &modulus, inverse);
    let mut result = multiply(&one, &square, &modulus, inverse);
    for bit in exponent.iter().flat_map(|byte| (0..8).rev().map(move |shift| byte >> shift & 1)) {
        result = multiply(&result, &result, &modulus, inverse);
        if bit == 1 {
            result = multiply(&result, &base, &modulus, inverse);
        }
    }
    let result = multiply(&result, &one, &modulus, inverse);
    result.iter().rev().flat_map(|limb| limb.to_be_bytes()).collect()
}

/// Limbs of 64 bits, the least significant first.
fn limbs(bytes: &[u8], size: usize) -> Vec<u64> {
    let mut limbs: Vec<u64> = bytes
        .rchunks(8)
        .map(|chunk| chunk.iter().fold(0, |limb, byte| limb << 8 | u64::from(*byte)))
        .collect();
    limbs.resize(size, 0);
    limbs
}

/// `-1 / odd mod 2^64` by Newton.
fn negative_inverse(odd: u64) -> u64 {
    let mut inverse = odd;
    for _ in 0..6 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(inverse)));
    }
    inverse.wrapping_neg()
}

fn double(number: &mut [u64], modulus: &[u64]) {
    let mut carry = 0;
    for limb in number.iter_mut() {
        let next = *limb >> 63;
        *limb = *limb << 1 | carry;
        carry = next;
    }
    if carry == 1 || !is_less(number, modulus) {
        subtract(number, modulus);
    }
}

fn is_less(one: &[u64], other: &[u64]) -> bool {
    one.iter().rev().lt(other.iter().rev())
}

fn subtract(number: &mut [u64], other: &[u64]) {
    let mut borrow = false;
    for (limb, other) in number.iter_mut().zip(other) {
        let (first, one) = limb.overflowing_sub(*other);
        let (second, two) = first.overflowing_sub(borrow.into());
        *limb = second;
        borrow = one || two;
    }
}

/// `one · other / R mod modulus`.
fn multiply(one: &[u64], other: &[u64], modulus: &[u64], inverse: u64) -> Vec<u64> {
    let size = modulus.len();
    let mut sum = vec![0u64; size + 2];
    for limb in one {
        add_product(&mut sum, *limb, other);
        let factor = sum[0].wrapping_mul(inverse);
        add_product(&mut sum, factor, modulus);
        sum.rotate_left(1);
        sum[size + 1] = 0;
    }
    if sum[size] > 0 || !is_less(&sum[..size], modulus) {
        subtract(&mut sum[..size], modulus);
    }
    sum.truncate(size);
    sum
}

/// `sum += factor · other`, with the carry into the limbs behind.
fn add_product(sum: &mut [u64], factor: u64, other: &[u64]) {
    let mut carry = 0u128;
    for (limb, other) in sum.iter_mut().zip(other) {
        let total = u128::from(factor) * u128::from(*other) + u128::from(*limb) + carry;
        *limb = total as u64;
        carry = total >> 64;
    }
    for limb in &mut sum[other.len()..] {
        let total = u128::from(*limb) + carry;
        *limb = total as u64;
        carry = total >> 64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_small_numbers() {
        let last = |base: u64, exponent: u64, modulus: u64| {
            let bytes = power(&base.to_be_bytes(), &exponent.to_be_bytes(), &modulus.to_be_bytes());
            u64::from_be_bytes(bytes[bytes.len() - 8..].try_into().expect("eight bytes"))
        };
        assert_eq!(last(3, 5, 1001), 243);
        assert_eq!(last(123_456_789, 65_537, 0xFFFF_FFFF_FFFF_FFC5), {
            let modulus = 0xFFFF_FFFF_FFFF_FFC5_u128;
            (0..65_537).fold(1u128, |power, _| power * 123_456_789 % modulus) as u64
        });
    }

    #[test]
    fn a_signature_is_undone_by_the_public_key() {
        let (_, bytes) = super::super::pem::decode(include_bytes!("keys/rsa.pem")).expect("a block");
        let key = PrivateKey::from_pkcs1(&bytes).expect("a key");
        let message = power(&key.sign(b"prefix", b"hash"), &key.exponent, &key.modulus);
        assert!(message.starts_with(&[0, 1, 0xFF]) && message.ends_with(b"\0prefixhash"));
    }
}
