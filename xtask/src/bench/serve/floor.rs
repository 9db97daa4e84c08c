//! The ceiling: a server that does nothing but `sendfile(2)`, one thread for each connection.

use anyhow::{Context, Result};
use rustix::fs::sendfile;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where the files are; `GET /…/NAME` sends the one of that name.
    #[arg(long)]
    directory: PathBuf,
}

/// Prints the address and serves until it is killed.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?);
    let directory: Arc<Path> = arguments.directory.as_path().into();
    for stream in listener.incoming().flatten() {
        let directory = directory.clone();
        let thread = std::thread::Builder::new().stack_size(64 << 10);
        // A client that leaves in the middle is the usual end.
        thread.spawn(move || drop(serve(stream, &directory))).context("cannot start a thread")?;
    }
    Ok(())
}

fn serve(mut stream: TcpStream, directory: &Path) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 8 << 10];
    loop {
        let mut filled = 0;
        while !buffer[..filled].ends_with(b"\r\n\r\n") {
            let count = stream.read(&mut buffer[filled..])?;
            if count == 0 {
                return Ok(());
            }
            filled += count;
        }
        let line = std::str::from_utf8(&buffer[..filled])?.lines().next().unwrap_or_default();
        let path = line.split(' ').nth(1).context("not a request")?;
        // Files of a store are named after the hexadecimal part of their digest.
        let name = path.rsplit(['/', ':']).next().unwrap_or_default();
        let file = File::open(directory.join(name))?;
        let size = file.metadata()?.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        let mut at = 0;
        while at < size {
            let left = (size - at) as usize;
            let count = sendfile(&stream, &file, Some(&mut at), left)?;
            anyhow::ensure!(count > 0, "the file is shorter than it was");
        }
    }
}
