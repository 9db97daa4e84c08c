//! Finds every image that manifests, charts, kustomizations and cluster descriptions ask for, with proof of where.
