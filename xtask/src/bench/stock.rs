//! A store with very many small images: what a registry mirror or a build machine has after a year.

use anyhow::{Context, Result};
use larder_core::{Digest, Document, Reference, silent};
use larder_engine::{Config, Engine, Host};
use larder_store::{BlobKind, Lease, Store};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// The product, over the store in `home`, as a program that embeds it would open it.
pub(super) fn open(home: &Path) -> Result<Engine> {
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").context("this is not Linux")?;
    let host = Host {
        actor: None,
        boot_id: boot_id.trim().to_owned(),
        clock: Arc::new(SystemTime::now),
        credential_files: Vec::new(),
        helper_path: Vec::new(),
        seed: 7,
        user_agent: "larder-bench".into(),
        proxy: None,
    };
    let config = Config { home: home.to_owned(), ..Config::default() };
    Ok(Engine::open(config, host, silent())?)
}

/// The name of image `number`.
pub(super) fn name(number: u32) -> Result<Reference> {
    Ok(format!("registry.example/team{}/image{number}:1", number % 97).parse()?)
}

/// Puts in `images` images, each with a manifest, a config and `layers` layers of its own.
pub(super) fn fill(store: &Store, images: u32, layers: u32) -> Result<()> {
    let lease = store.lease("bench")?;
    for number in 0..images {
        let document = image(store, &lease, number, layers)?;
        store.put_document(&document, &lease)?;
        store.set_name(&name(number)?, &document.descriptor())?;
    }
    store.flush()?;
    Ok(())
}

fn image(store: &Store, lease: &Lease, number: u32, layers: u32) -> Result<Document> {
    let put = |text: String, kind| -> Result<(Digest, usize)> {
        store.put(text.as_bytes(), kind, lease)?;
        Ok((Digest::of(text.as_bytes()), text.len()))
    };
    let mut described = Vec::new();
    let mut diff_ids = Vec::new();
    for layer in 0..layers {
        let (digest, size) = put(format!("layer {layer} of image {number}"), BlobKind::Layer)?;
        diff_ids.push(digest.to_string());
        described.push(json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": size,
        }));
    }
    let config = json!({
        "architecture": larder_core::Platform::host().architecture, "os": "linux",
        "config": { "Labels": { "number": number.to_string() } },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let (digest, size) = put(config.to_string(), BlobKind::Config)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": size },
        "layers": described,
    });
    Ok(Document::parse(manifest.to_string().into_bytes(), None)?)
}
