//! What a tier must do, near or far.

use bytes::Bytes;
use larder_core::{Descriptor, MediaType};
use larder_fetch::{Begin, BlobSink, BlobSource, Scope};

/// A source together with a way to put a blob into it.
pub struct SourceUnderTest<'a> {
    /// The source.
    pub source: &'a dyn BlobSource,
    /// Puts content where the source will find it.
    pub put: &'a dyn Fn(&Descriptor, &[u8]),
}

fn blob(seed: u8, size: usize) -> (Descriptor, Vec<u8>) {
    let content: Vec<u8> = (0..size).map(|at| seed.wrapping_add((at % 251) as u8)).collect();
    (Descriptor::of(MediaType::OCI_CONFIG, &content), content)
}

async fn read(
    source: &dyn BlobSource,
    scope: &Scope,
    descriptor: &Descriptor,
    offset: u64,
) -> Option<Vec<u8>> {
    let mut stream = source.open(scope, descriptor, offset).await.expect("a healthy source")?;
    let mut content = Vec::new();
    while let Some(chunk) = stream.next().await.expect("a healthy stream") {
        assert!(!chunk.is_empty(), "a stream yields no empty chunks");
        content.extend_from_slice(&chunk);
    }
    Some(content)
}

/// Every source: serves whole blobs and their rest from any offset, and says "absent" without an error.
pub async fn source(under_test: SourceUnderTest<'_>, scope: &Scope) {
    let SourceUnderTest { source, put } = under_test;
    for size in [0, 1, 65_536, 300_000] {
        let (descriptor, content) = blob(size as u8, size);
        put(&descriptor, &content);
        assert_eq!(read(source, scope, &descriptor, 0).await.as_deref(), Some(&*content), "{size} bytes");
        for offset in [1, size / 2, size.saturating_sub(1), size].map(|offset| offset.min(size)) {
            let expected = &content[offset..];
            let found = read(source, scope, &descriptor, offset as u64).await;
            assert_eq!(found.as_deref(), Some(expected), "{size} bytes from {offset}");
        }
    }
}

/// Every tier that keeps what it is given, besides what [`source`] asks.
pub async fn tier(source: &dyn BlobSource, scope: &Scope) {
    let sink = source.sink().expect("a tier that keeps things has a sink");
    absent_is_not_an_error(source, scope).await;
    a_committed_blob_is_served(source, sink, scope).await;
    an_abandoned_blob_is_invisible(source, sink, scope).await;
    wrong_bytes_are_refused(source, sink, scope).await;
    a_reset_fill_starts_again(source, sink, scope).await;
}

async fn absent_is_not_an_error(source: &dyn BlobSource, scope: &Scope) {
    let (descriptor, _) = blob(201, 100);
    assert!(source.open(scope, &descriptor, 0).await.expect("absent is no error").is_none());
}

async fn a_committed_blob_is_served(source: &dyn BlobSource, sink: &dyn BlobSink, scope: &Scope) {
    let (descriptor, content) = blob(202, 200_000);
    let Begin::Fill(mut fill) = sink.begin(scope, &descriptor).await.expect("begin") else {
        panic!("nothing to fill")
    };
    for chunk in content.chunks(70_000) {
        fill.write(Bytes::copy_from_slice(chunk)).await.expect("write");
    }
    assert!(read(source, scope, &descriptor, 0).await.is_none(), "visible before the commit");
    fill.commit().await.expect("commit");
    assert_eq!(read(source, scope, &descriptor, 0).await, Some(content));
    let again = sink.begin(scope, &descriptor).await.expect("begin");
    assert!(matches!(again, Begin::Present), "a blob that is here is not asked for again");
}

async fn an_abandoned_blob_is_invisible(source: &dyn BlobSource, sink: &dyn BlobSink, scope: &Scope) {
    let (descriptor, content) = blob(203, 10_000);
    let Begin::Fill(mut fill) = sink.begin(scope, &descriptor).await.expect("begin") else {
        panic!("nothing to fill")
    };
    fill.write(Bytes::copy_from_slice(&content[..5_000])).await.expect("write");
    drop(fill);
    assert!(read(source, scope, &descriptor, 0).await.is_none(), "half a blob is visible");
}

async fn wrong_bytes_are_refused(source: &dyn BlobSource, sink: &dyn BlobSink, scope: &Scope) {
    let (descriptor, mut content) = blob(204, 10_000);
    content[5_000] ^= 1;
    let short = content[..9_999].to_vec();
    let long = [content.clone(), vec![0]].concat();
    for wrong in [content, short, long] {
        let Begin::Fill(mut fill) = sink.begin(scope, &descriptor).await.expect("begin") else {
            panic!("nothing to fill")
        };
        if fill.kept() > 0 {
            fill.reset().await.expect("reset");
        }
        let outcome = match fill.write(Bytes::from(wrong)).await {
            Ok(()) => fill.commit().await,
            Err(error) => Err(error),
        };
        assert!(outcome.is_err(), "bytes that do not hash to {} were kept", descriptor.digest);
        assert!(read(source, scope, &descriptor, 0).await.is_none());
    }
}

async fn a_reset_fill_starts_again(source: &dyn BlobSource, sink: &dyn BlobSink, scope: &Scope) {
    let (descriptor, content) = blob(205, 10_000);
    let Begin::Fill(mut fill) = sink.begin(scope, &descriptor).await.expect("begin") else {
        panic!("nothing to fill")
    };
    fill.write(Bytes::from_static(b"nonsense")).await.expect("write");
    fill.reset().await.expect("reset");
    fill.write(Bytes::copy_from_slice(&content)).await.expect("write");
    fill.commit().await.expect("commit");
    assert_eq!(read(source, scope, &descriptor, 0).await, Some(content));
}
