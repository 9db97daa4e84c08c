//! A description of a cluster, with what lies beside it.

use anyhow::Result;
use larder_discover::cluster::WantedSource;
use larder_discover::{Input, SurveyOptions, survey, wanted_by};
use std::fs;
use std::path::{Path, PathBuf};

fn cluster(directory: &Path) -> Result<PathBuf> {
    let file = |path: &str, text: &str| -> Result<()> {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap_or(directory))?;
        Ok(fs::write(path, text)?)
    };
    file("charts/app/Chart.yaml", "apiVersion: v2\nname: app\nversion: 1.0.0\n")?;
    file(
        "charts/app/templates/pod.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: app, namespace: {{ .Release.Namespace }}}\nspec:\n  containers:\n  \
         - name: app\n    image: registry.example/app:{{ .Values.tag }}-{{ .Capabilities.KubeVersion.Minor }}-{{ .Values.more }}\n",
    )?;
    file("values.yaml", "tag: '1'\nmore: file\n")?;
    file(
        "manifests/pod.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers: [{name: c, image: 'registry.example/pod:1'}]\n",
    )?;
    file(
        "cluster.yaml",
        "apiVersion: larder.dev/v1alpha1\nkind: Cluster\nspec:\n  kubernetesVersion: v1.33.1\n  \
         cni: {name: cilium, version: 1.16.0}\n  charts:\n  \
         - {path: charts/app, values: values.yaml, valuesInline: {more: inline}, namespace: shop}\n  \
         manifests: [manifests, 'https://example.com/install.yaml']\n",
    )?;
    Ok(directory.join("cluster.yaml"))
}

#[test]
fn what_lies_beside_a_description_is_looked_into() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let inputs = [Input::Path(cluster(directory.path())?)];
    let result = survey(&inputs, &SurveyOptions::default());
    let texts: Vec<&str> = result.finds.iter().map(|find| find.text.as_str()).collect();
    assert!(texts.contains(&"registry.k8s.io/kube-apiserver:v1.33.1"), "{texts:?}");
    assert!(texts.contains(&"registry.example/app:1-33-inline"), "{texts:?}");
    assert!(texts.contains(&"registry.example/pod:1"), "{texts:?}");
    let troubles: Vec<String> = result
        .troubles
        .iter()
        .map(|trouble| format!("{} ({})", trouble.message, trouble.hints.join(", ")))
        .collect();
    assert_eq!(
        troubles,
        [
            "cni cilium 1.16.0: the chart cilium is not on this machine (`helm pull --repo https://helm.cilium.io cilium \
         --version 1.16.0`, and say `path:` where it is)",
            "manifest https://example.com/install.yaml: https://example.com/install.yaml is not on this machine \
         (`curl -LO https://example.com/install.yaml`, and say `path:` where it is)",
        ]
    );
    assert!(!result.is_complete());
    Ok(())
}

#[test]
fn what_was_brought_is_looked_into() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let inputs = [Input::Path(cluster(directory.path())?)];
    let wanted = wanted_by(&inputs);
    let url = "https://example.com/install.yaml";
    let chart = WantedSource::Chart {
        repository: "https://helm.cilium.io".into(),
        name: "cilium".into(),
        version: Some("1.16.0".into()),
    };
    assert_eq!(wanted, [chart.clone(), WantedSource::Manifest { url: url.into() }]);
    let text = |image: &str| {
        Input::Text {
        name: url.into(),
        bytes: format!("kind: Pod\napiVersion: v1\nmetadata: {{name: x}}\nspec: {{containers: [{{name: c, image: '{image}'}}]}}\n")
            .into_bytes(),
    }
    };
    let brought = vec![
        (chart, text("registry.example/cilium:1")),
        (WantedSource::Manifest { url: url.into() }, text("registry.example/installed:1")),
    ];
    let result = survey(&inputs, &SurveyOptions { brought, ..SurveyOptions::default() });
    assert!(result.is_complete(), "{:?}", result.troubles);
    for image in ["registry.example/cilium:1", "registry.example/installed:1"] {
        assert!(result.finds.iter().any(|find| find.text == image), "{image}");
    }
    Ok(())
}

#[test]
fn a_description_that_contains_itself_ends() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("cluster.yaml");
    fs::write(
        &path,
        "apiVersion: larder.dev/v1alpha1\nkind: Cluster\nspec: {controlPlane: false, manifests: [cluster.yaml]}\n",
    )?;
    let result = survey(&[Input::Path(path)], &SurveyOptions::default());
    assert_eq!(result.troubles.len(), 1);
    assert!(result.troubles[0].message.contains("within another"), "{:?}", result.troubles);
    Ok(())
}
