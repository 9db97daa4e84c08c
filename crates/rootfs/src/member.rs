//! One member of a tar: its header and all that precedes it, made into an entry.

use crate::entry::{Body, Content, Entry, Meta, Time};
use crate::error::{Error, Result, shown};
use crate::header::Header;
use crate::limits::Limits;
use crate::pax::Records;
use crate::sparse::{self, Format};

/// What the headers before a member say about it.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// pax, flag `x`.
    pub(crate) records: Option<Box<Records>>,
    /// GNU, flag `L`.
    pub(crate) name: Option<Vec<u8>>,
    /// GNU, flag `K`.
    pub(crate) link: Option<Vec<u8>>,
}

impl Pending {
    pub(crate) fn any(&self) -> bool {
        self.records.is_some() || self.name.is_some() || self.link.is_some()
    }
}

#[derive(Debug)]
pub(crate) struct Member {
    /// As written, for errors.
    name: Vec<u8>,
    offset: u64,
    /// `None` for the bookkeeping of AUFS, which is no part of the image.
    entry: Option<Entry>,
    /// Bytes of the member in the tar, without padding.
    pub(crate) stored: u64,
    /// Bytes of the file.
    pub(crate) size: u64,
}

/// What follows the header of a member.
#[derive(Debug)]
pub(crate) enum Data {
    None,
    /// The file.
    Plain,
    /// The regions of a sparse file.
    Mapped(Vec<(u64, u64)>),
    /// The same, and the map is in the header, maybe with extension blocks.
    MapAbove,
    /// The same after a map.
    MapBefore,
}

impl Member {
    pub(crate) fn read(
        header: &Header<'_>,
        pending: Pending,
        offset: u64,
        limits: &Limits,
    ) -> Result<(Self, Data)> {
        let Pending { records, name: long_name, link: long_link } = pending;
        let records = records.map(|records| *records).unwrap_or_default();
        let short = if long_name.is_none() && records.path.is_none() { header.name() } else { Vec::new() };
        let known = records.path.as_ref().or(long_name.as_ref()).unwrap_or(&short).clone();
        let fails = |problem| fails(&known, offset, problem);
        let agree = |long: &Option<Vec<u8>>, pax: &Option<Vec<u8>>| {
            long.is_none() || pax.is_none() || long.as_deref() == pax.as_deref()
        };
        if !agree(&long_name, &records.path) || !agree(&long_link, &records.link) {
            return Err(fails("its GNU and pax headers disagree"));
        }
        let written = records.path.or(long_name).unwrap_or(short);
        let link = records.link.or(long_link).unwrap_or_else(|| header.link().to_vec());
        let format = records.sparse.format().map_err(fails)?;
        let mut flag = header.flag();
        let stored = records.size.map_or_else(|| header.size(), Ok);
        // A hard link may carry the size of its target, and has no data for it.
        let stored = if flag == b'1' { records.size.unwrap_or(0) } else { stored.map_err(fails)? };
        let name = if format.is_some() { records.sparse.name.as_ref().unwrap_or(&written) } else { &written };
        let (path, slash) = clean(name, limits).map_err(fails)?;
        let base = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let mark = Mark::of(&path, base).map_err(fails)?;
        let regular = matches!(flag, b'0' | 0 | b'7' | b'S');
        if regular && slash {
            if flag != 0 {
                return Err(fails("a file has the name of a directory"));
            }
            flag = b'5';
        }
        if stored != 0 && !matches!(flag, b'0' | 0 | b'7' | b'S') {
            return Err(fails("it is not a file but has a size"));
        }
        if format.is_some() && !matches!(flag, b'0' | 0) {
            return Err(fails("it is sparse in two ways, or not a file"));
        }
        let mtime = records.mtime.map_or_else(|| Ok(Time { secs: header.mtime()?, nanos: 0 }), Ok);
        let meta = Meta {
            mode: header.mode().map_err(fails)?,
            uid: records.uid.map_or_else(|| header.uid(), Ok).map_err(fails)?,
            gid: records.gid.map_or_else(|| header.gid(), Ok).map_err(fails)?,
            mtime: mtime.map_err(fails)?,
            xattrs: records.xattrs,
        };
        let mut data = Data::None;
        let mut size = stored;
        let body = match flag {
            b'0' | 0 | b'7' => {
                match format {
                    None => data = Data::Plain,
                    Some(format) => {
                        size = records.sparse.size.ok_or_else(|| fails("the sparse file has no size"))?;
                        data = match format {
                            Format::Header => Data::Mapped(records.sparse.map().map_err(fails)?),
                            Format::Data => Data::MapBefore,
                        };
                    }
                }
                Body::File(Content::default())
            }
            b'S' => {
                if !header.is_gnu() || records.size.is_some() {
                    return Err(fails("its sparse map is not that of GNU tar"));
                }
                size = header.real_size().map_err(fails)?;
                data = Data::MapAbove;
                Body::File(Content::default())
            }
            b'1' if mark.is_some() => Body::Whiteout,
            b'1' => match clean(&link, limits).map_err(fails)? {
                (target, _) if !target.is_empty() => Body::HardLink(target.into()),
                _ => return Err(fails("it is a hard link to the root")),
            },
            b'2' => {
                if link.is_empty() || link.len() > SYMLINK {
                    return Err(fails("the target of a symbolic link has 1 to 4095 bytes"));
                }
                Body::Symlink(link.into())
            }
            b'3' | b'4' => {
                let (major, minor) = header.device().map_err(fails)?;
                Body::Device { block: flag == b'4', major, minor }
            }
            b'5' => Body::Directory,
            b'6' => Body::Fifo,
            _ => return Err(fails("its type is not known")),
        };
        if path.is_empty() && body != Body::Directory {
            return Err(fails("the root must be a directory"));
        }
        let entry = match mark {
            None => Some(Entry { path: path.into(), meta, body }),
            Some(Mark::Ignored) => None,
            Some(mark) => {
                let directory = &path[..path.len() - base.len()];
                let (path, body) = match mark {
                    Mark::Hidden(b"" | b"." | b"..") => {
                        return Err(fails("a whiteout of nothing"));
                    }
                    Mark::Hidden(name) => ([directory, name].concat(), Body::Whiteout),
                    _ => (directory.strip_suffix(b"/").unwrap_or(directory).to_vec(), Body::Opaque),
                };
                Some(Entry { path: path.into(), meta: Meta::default(), body })
            }
        };
        Ok((Self { name: written, offset, entry, stored, size }, data))
    }

    /// Says where the content is, which starts at `offset` of the tar.
    pub(crate) fn place(&mut self, map: Option<&[(u64, u64)]>, offset: u64) -> Result<()> {
        let extents = map.map(|map| sparse::extents(map, self.size, self.stored, offset));
        let extents = extents.transpose().map_err(|problem| self.fails(problem))?;
        if let Some(Entry { body: Body::File(content), .. }) = &mut self.entry {
            *content = match extents {
                Some(extents) => Content { size: self.size, extents },
                None => Content::whole(self.size, 0, offset),
            };
        }
        Ok(())
    }

    pub(crate) fn into_entry(self) -> Option<Entry> {
        self.entry
    }

    pub(crate) fn fails(&self, problem: &'static str) -> Error {
        fails(&self.name, self.offset, problem)
    }
}

/// What a name that starts with `.wh.` means (OCI image-spec, layer.md, "Whiteouts").
enum Mark<'n> {
    Hidden(&'n [u8]),
    Opaque,
    /// `.wh..wh.plnk`, `.wh..wh.aufs` and the like.
    Ignored,
}

impl<'n> Mark<'n> {
    fn of(path: &[u8], base: &'n [u8]) -> std::result::Result<Option<Self>, &'static str> {
        let mut directories = path[..path.len() - base.len()].split(|byte| *byte == b'/');
        if let Some(name) = directories.find(|name| name.starts_with(b".wh.")) {
            return if name.starts_with(b".wh..wh.") {
                Ok(Some(Self::Ignored))
            } else {
                Err("no directory can have the name of a whiteout")
            };
        }
        let Some(name) = base.strip_prefix(b".wh.") else { return Ok(None) };
        // The opaque mark starts like a whiteout, so it is looked for first.
        Ok(Some(match name {
            b".wh..opq" => Self::Opaque,
            _ if name.starts_with(b".wh.") => Self::Ignored,
            _ => Self::Hidden(name),
        }))
    }
}

/// Makes a path relative to the root, without `.` and empty components; tells whether it ended in a slash.
pub(crate) fn clean(name: &[u8], limits: &Limits) -> std::result::Result<(Vec<u8>, bool), &'static str> {
    if name.is_empty() {
        return Err("it has no name");
    }
    let mut path = Vec::with_capacity(name.len());
    let mut slash = false;
    for part in name.split(|byte| *byte == b'/') {
        slash = matches!(part, b"" | b".");
        if slash {
            continue;
        }
        if part == b".." {
            return Err("a path must not go up");
        }
        if part.len() > 255 {
            return Err("a component of a path has more than 255 bytes");
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(part);
    }
    if path.len() > limits.path {
        return Err("the path is longer than the limit");
    }
    Ok((path, slash))
}

fn fails(name: &[u8], offset: u64, problem: &'static str) -> Error {
    Error::Member { path: shown(name), offset, problem }
}

/// `PATH_MAX` without the NUL.
const SYMLINK: usize = 4095;
