//! `discover`, `lock`, `ready`, `render` and `values-images`, as users run them.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod charts;
mod clusters;
mod lists;
mod locks;

use larder_testkit::{FaultRegistry, Home, Image, ImageBuilder, Outcome};

/// How a run ended, in words.
struct Told {
    stdout: String,
    stderr: String,
}

impl Told {
    fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_str(&self.stdout).ok()
    }
}

trait Ends {
    /// Insists on this exit code.
    fn ends(&self, code: i32) -> Told;
}

impl Ends for Outcome {
    #[track_caller]
    fn ends(&self, code: i32) -> Told {
        self.fails_with(code);
        Told { stdout: self.text(), stderr: self.error_text() }
    }
}

/// A home, and a registry with `shop/web:1` and `shop/db:1`.
fn world() -> (FaultRegistry, Home, Image, Image) {
    let registry = FaultRegistry::start();
    let home = Home::new().unwrap();
    let image =
        |seed| ImageBuilder::new(seed).random_layers(2, 10_000, larder_core::Compression::Gzip).build();
    let (web, db) = (image(70), image(71));
    web.push(&registry, "shop/web", Some("1"));
    db.push(&registry, "shop/db", Some("1"));
    (registry, home, web, db)
}

/// A pod with these images, a container each.
fn pod(images: &[&str]) -> String {
    let containers: Vec<String> = images
        .iter()
        .enumerate()
        .map(|(at, image)| format!("  - {{name: c{at}, image: {image:?}}}\n"))
        .collect();
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  containers:\n{}", containers.concat())
}
