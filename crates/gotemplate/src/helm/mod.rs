//! What Helm adds to Sprig (helm.sh/helm/v4, `pkg/engine`).

pub(crate) mod flow;
