//! Writes plain tar archives, reproducibly: root:root, and no times or one for all (POSIX.1-1988 ustar with GNU long names and
//! GNU base-256 sizes).

use std::io::{Read, Result, Seek, SeekFrom, Write};

const BLOCK: usize = 512;
/// How much is read from a source at once.
const BUFFER: usize = 256 << 10;
/// Sizes beyond eleven octal digits need GNU's base-256 form.
const OCTAL_LIMIT: u64 = 0o77_777_777_777;

/// A tar being written.
#[derive(Debug)]
pub struct ArchiveWriter<W> {
    out: W,
    mtime: u32,
}

impl<W: Write> ArchiveWriter<W> {
    /// Starts an archive at the writer's current position.
    pub fn new(out: W) -> Self {
        Self { out, mtime: 0 }
    }

    /// Gives every member from here this time, in seconds since 1970.
    #[must_use]
    pub fn with_mtime(self, mtime: u32) -> Self {
        Self { mtime, ..self }
    }

    /// Appends a file of a known size, with mode 0644.
    ///
    /// # Errors
    /// `UnexpectedEof` when the source ends early; the archive is not usable then.
    pub fn file(&mut self, name: &str, size: u64, source: &mut dyn Read) -> Result<()> {
        self.file_with_mode(name.as_bytes(), 0o644, size, source)
    }

    /// Appends a file of a known size.
    ///
    /// # Errors
    /// As [`ArchiveWriter::file`].
    pub fn file_with_mode(&mut self, name: &[u8], mode: u16, size: u64, source: &mut dyn Read) -> Result<()> {
        self.header(&Header { name, link: b"", kind: b'0', mode, size })?;
        let copied = copy(&mut source.take(size), &mut self.out)?;
        if copied != size {
            let name = String::from_utf8_lossy(name);
            let message = format!("{name} ended after {copied} of {size} bytes");
            return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, message));
        }
        self.pad(size)
    }

    /// Starts a file of a known size: exactly so many bytes have to be written to what is returned, then [`Self::end`].
    pub fn begin(&mut self, name: &str, size: u64) -> Result<&mut W> {
        self.header(&Header { name: name.as_bytes(), link: b"", kind: b'0', mode: 0o644, size })?;
        Ok(&mut self.out)
    }

    /// Ends a file that was begun with this size.
    pub fn end(&mut self, size: u64) -> Result<()> {
        self.pad(size)
    }

    /// Appends a directory.
    pub fn directory(&mut self, name: &[u8], mode: u16) -> Result<()> {
        let name = [name, b"/"].concat();
        self.header(&Header { name: &name, link: b"", kind: b'5', mode, size: 0 })
    }

    /// Appends a symbolic link.
    pub fn symlink(&mut self, name: &[u8], target: &[u8]) -> Result<()> {
        self.header(&Header { name, link: target, kind: b'2', mode: 0o777, size: 0 })
    }

    /// Writes the end marker and gives the writer back.
    pub fn finish(mut self) -> Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn header(&mut self, header: &Header<'_>) -> Result<()> {
        self.long(header.name, b'L')?;
        self.long(header.link, b'K')?;
        self.out.write_all(&block(header, self.mtime))
    }

    /// A name that does not fit into the header goes before it.
    fn long(&mut self, name: &[u8], kind: u8) -> Result<()> {
        if name.len() <= SHORT {
            return Ok(());
        }
        let size = name.len() as u64 + 1;
        let header = Header { name: b"././@LongLink", link: b"", kind, mode: 0o644, size };
        self.out.write_all(&block(&header, 0))?;
        self.out.write_all(name)?;
        self.out.write_all(&[0])?;
        self.pad(size)
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        let rest = (size % BLOCK as u64) as usize;
        if rest > 0 {
            self.out.write_all(&[0; BLOCK][rest..])?;
        }
        Ok(())
    }
}

impl<W: Write + Seek> ArchiveWriter<W> {
    /// Appends everything a source yields; the header is written again once the size is known.
    pub fn file_of_unknown_size(&mut self, name: &str, source: &mut dyn Read) -> Result<()> {
        let start = self.out.stream_position()?;
        let header = |size| Header { name: name.as_bytes(), link: b"", kind: b'0', mode: 0o644, size };
        self.header(&header(0))?;
        let size = copy(source, &mut self.out)?;
        self.pad(size)?;
        let end = self.out.stream_position()?;
        self.out.seek(SeekFrom::Start(start))?;
        self.header(&header(size))?;
        self.out.seek(SeekFrom::Start(end)).map(drop)
    }
}

/// What a header block says.
struct Header<'h> {
    name: &'h [u8],
    link: &'h [u8],
    kind: u8,
    mode: u16,
    size: u64,
}

/// `io::copy` with a buffer that suits a layer.
fn copy(source: &mut dyn Read, out: &mut impl Write) -> Result<u64> {
    let mut buffer = vec![0; BUFFER];
    let mut copied = 0;
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(count) => {
                out.write_all(&buffer[..count])?;
                copied += count as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn block(header: &Header<'_>, mtime: u32) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let short = |text: &[u8]| text.len().min(SHORT);
    block[..short(header.name)].copy_from_slice(&header.name[..short(header.name)]);
    let link = &header.link[..short(header.link)];
    block[157..157 + link.len()].copy_from_slice(link);
    let mut field = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    field(100, &format!("{:07o}\0", header.mode));
    field(108, "0000000\0");
    field(116, "0000000\0");
    field(136, &format!("{mtime:011o}\0"));
    field(148, "        ");
    field(257, "ustar\x0000");
    if header.size <= OCTAL_LIMIT {
        field(124, &format!("{:011o}\0", header.size));
    } else {
        block[124] = 0x80;
        block[128..136].copy_from_slice(&header.size.to_be_bytes());
    }
    block[156] = header.kind;
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// What the name field of a header holds.
const SHORT: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;
    use std::process::{Command, Stdio};

    #[test]
    fn gnu_tar_reads_it() {
        let long = "d".repeat(90) + "/" + &"f".repeat(60);
        let mut writer = ArchiveWriter::new(Cursor::new(Vec::new()));
        writer.file("a", 3, &mut &b"abc"[..]).unwrap();
        writer.file_of_unknown_size(&long, &mut &[7; 1000][..]).unwrap();
        assert!(writer.file("short", 5, &mut &b"abc"[..]).is_err());
        let mut writer = ArchiveWriter::new(Cursor::new(Vec::new()));
        writer.file("a", 3, &mut &b"abc"[..]).unwrap();
        writer.file_of_unknown_size(&long, &mut &[7; 1000][..]).unwrap();
        let bytes = writer.finish().unwrap().into_inner();
        let mut tar = Command::new("tar")
            .args(["-tvf", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        tar.stdin.take().unwrap().write_all(&bytes).unwrap();
        let listing = String::from_utf8(tar.wait_with_output().unwrap().stdout).unwrap();
        let lines: Vec<&str> = listing.lines().collect();
        assert!(lines[0].contains(" 3 ") && lines[0].ends_with(" a"), "{listing}");
        assert!(lines[1].contains(" 1000 ") && lines[1].ends_with(&long), "{listing}");
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn large_sizes_are_base_256() {
        let header = Header { name: b"x", link: b"", kind: b'0', mode: 0o644, size: OCTAL_LIMIT + 1 };
        let block = block(&header, 0);
        assert_eq!(block[124], 0x80);
    }
}
