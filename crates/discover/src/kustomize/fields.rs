//! The fields that transformers look at unless a kustomization says others (kustomize, api/internal/konfig/builtinpluginconsts).

use super::edit;
use super::field::Field;
use super::item::Kind;
use larder_gotemplate::yaml::Node;

/// Fields by transformer. `configurations` of kustomizations add to them, also for what they are part of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) name_prefix: Vec<Field>,
    pub(super) name_suffix: Vec<Field>,
    pub(super) namespace: Vec<Field>,
    pub(super) common_labels: Vec<Field>,
    pub(super) labels: Vec<Field>,
    pub(super) template_labels: Vec<Field>,
    pub(super) claim_labels: Vec<Field>,
    pub(super) common_annotations: Vec<Field>,
    pub(super) references: Vec<References>,
    pub(super) variables: Vec<Field>,
    pub(super) images: Vec<Field>,
    pub(super) replicas: Vec<Field>,
}

/// Fields that hold names of objects of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct References {
    pub(super) kind: Kind,
    pub(super) fields: Vec<Field>,
}

impl Fields {
    /// Those of kustomize itself.
    pub(super) fn standard() -> Self {
        let name = || vec![field("", "metadata/name", false)];
        let template_labels = template_labels();
        let mut common_labels = selectors();
        common_labels.extend(template_labels.iter().cloned());
        Self {
            name_prefix: name(),
            name_suffix: name(),
            namespace: vec![
                field("Namespace", "metadata/name", true),
                field("apiregistration.k8s.io//APIService", "spec/service/namespace", true),
                field(
                    "apiextensions.k8s.io//CustomResourceDefinition",
                    "spec/conversion/webhook/clientConfig/service/namespace",
                    false,
                ),
            ],
            common_labels,
            labels: Vec::new(),
            template_labels,
            claim_labels: vec![field(
                "apps//StatefulSet",
                "spec/volumeClaimTemplates[]/metadata/labels",
                true,
            )],
            common_annotations: annotations(),
            references: references(),
            variables: variables(),
            images: ["spec", "spec/template/spec"]
                .iter()
                .flat_map(|pod| {
                    ["containers[]/image", "initContainers[]/image", "volumes[]/image/reference"]
                        .map(|path| field("", &format!("{pod}/{path}"), true))
                })
                .collect(),
            replicas: ["Deployment", "ReplicationController", "ReplicaSet", "StatefulSet"]
                .iter()
                .map(|kind| field(kind, "spec/replicas", true))
                .collect(),
        }
    }

    /// Reads a file that `configurations` names.
    pub(super) fn read(node: &Node) -> Self {
        let list = |key: &str| read_list(node.get(key));
        let references = node.get("nameReference").and_then(Node::as_list).unwrap_or_default();
        Self {
            name_prefix: list("namePrefix"),
            name_suffix: list("nameSuffix"),
            namespace: list("namespace"),
            common_labels: list("commonLabels"),
            labels: list("labels"),
            template_labels: list("templateLabels"),
            claim_labels: list("volumeClaimTemplateLabels"),
            common_annotations: list("commonAnnotations"),
            references: references
                .iter()
                .map(|node| {
                    let word = |key| edit::text_of(node, key).unwrap_or_default().to_owned();
                    let kind = Kind { group: word("group"), version: word("version"), kind: word("kind") };
                    References { kind, fields: read_list(node.get("fieldSpecs")) }
                })
                .collect(),
            variables: list("varReference"),
            images: list("images"),
            replicas: list("replicas"),
        }
    }

    /// Those of kustomize itself and `more`.
    pub(super) fn standard_and(more: &Self) -> Self {
        let mut all = Self::standard();
        all.add(more);
        // Fields of all kinds come last, and are then not added where one kind has been given the same field.
        for fields in [&mut all.name_prefix, &mut all.name_suffix, &mut all.images, &mut all.common_labels] {
            fields.sort_by_key(|field| field.kind == Kind::default());
        }
        all
    }

    /// Adds what is not in it.
    pub(super) fn add(&mut self, other: &Self) {
        for (fields, more) in [
            (&mut self.name_prefix, &other.name_prefix),
            (&mut self.name_suffix, &other.name_suffix),
            (&mut self.namespace, &other.namespace),
            (&mut self.common_labels, &other.common_labels),
            (&mut self.labels, &other.labels),
            (&mut self.template_labels, &other.template_labels),
            (&mut self.claim_labels, &other.claim_labels),
            (&mut self.common_annotations, &other.common_annotations),
            (&mut self.variables, &other.variables),
            (&mut self.images, &other.images),
            (&mut self.replicas, &other.replicas),
        ] {
            add(fields, more);
        }
        for references in &other.references {
            match self.references.iter_mut().find(|own| own.kind == references.kind) {
                Some(own) => add(&mut own.fields, &references.fields),
                None => self.references.push(references.clone()),
            }
        }
    }
}

/// Adds fields that are not there yet. As in kustomize, one for a kind is taken for the one for all kinds, so that this one is not
/// added any more.
pub(super) fn add(fields: &mut Vec<Field>, more: &[Field]) {
    for field in more {
        if !fields.iter().any(|own| own.kind.is_selected(&field.kind) && own.path == field.path) {
            fields.push(field.clone());
        }
    }
}

/// Reads a list of `fieldSpecs`.
pub(super) fn read_list(node: Option<&Node>) -> Vec<Field> {
    node.and_then(Node::as_list).unwrap_or_default().iter().filter_map(Field::read).collect()
}

/// `Kind`, `group//Kind` or `/version/Kind`.
fn kind(text: &str) -> Kind {
    let mut parts = text.rsplit('/');
    let mut next = || parts.next().unwrap_or_default().to_owned();
    let (kind, version, group) = (next(), next(), next());
    Kind { group, version, kind }
}

fn field(of: &str, path: &str, create: bool) -> Field {
    Field::new(kind(of), path, create)
}

fn template_labels() -> Vec<Field> {
    let mut fields = vec![field("", "metadata/labels", true)];
    for of in [
        "/v1/ReplicationController",
        "Deployment",
        "ReplicaSet",
        "DaemonSet",
        "apps//StatefulSet",
        "batch//Job",
    ] {
        fields.push(field(of, "spec/template/metadata/labels", true));
    }
    fields.push(field("apps//StatefulSet", "spec/volumeClaimTemplates[]/metadata/labels", true));
    fields.push(field("batch//CronJob", "spec/jobTemplate/metadata/labels", true));
    fields.push(field("batch//CronJob", "spec/jobTemplate/spec/template/metadata/labels", true));
    fields
}

fn annotations() -> Vec<Field> {
    let mut fields = vec![field("", "metadata/annotations", true)];
    for of in
        ["/v1/ReplicationController", "Deployment", "ReplicaSet", "DaemonSet", "StatefulSet", "batch//Job"]
    {
        fields.push(field(of, "spec/template/metadata/annotations", true));
    }
    fields.push(field("batch//CronJob", "spec/jobTemplate/metadata/annotations", true));
    fields.push(field("batch//CronJob", "spec/jobTemplate/spec/template/metadata/annotations", true));
    fields
}

fn selectors() -> Vec<Field> {
    let mut fields = vec![
        field("/v1/Service", "spec/selector", true),
        field("/v1/ReplicationController", "spec/selector", true),
        field("batch//Job", "spec/selector/matchLabels", false),
        field("batch//CronJob", "spec/jobTemplate/spec/selector/matchLabels", false),
        field("policy//PodDisruptionBudget", "spec/selector/matchLabels", false),
    ];
    for of in ["Deployment", "ReplicaSet", "DaemonSet", "apps//StatefulSet"] {
        fields.push(field(of, "spec/selector/matchLabels", true));
    }
    for of in ["apps//Deployment", "apps//StatefulSet"] {
        for affinity in ["podAffinity", "podAntiAffinity"] {
            for term in [
                "preferredDuringSchedulingIgnoredDuringExecution/podAffinityTerm",
                "requiredDuringSchedulingIgnoredDuringExecution",
            ] {
                let path = format!("spec/template/spec/affinity/{affinity}/{term}/labelSelector/matchLabels");
                fields.push(field(of, &path, false));
            }
        }
        fields.push(field(
            of,
            "spec/template/spec/topologySpreadConstraints/labelSelector/matchLabels",
            false,
        ));
    }
    for path in ["podSelector", "ingress/from/podSelector", "egress/to/podSelector"] {
        let path = format!("spec/{path}/matchLabels");
        fields.push(field("networking.k8s.io//NetworkPolicy", &path, false));
    }
    fields
}

/// Kinds with pods in them, and where the pod is.
const PODS: &[(&str, &str)] = &[
    ("/v1/Pod", "spec"),
    ("PodTemplate", "template/spec"),
    ("Deployment", "spec/template/spec"),
    ("ReplicaSet", "spec/template/spec"),
    ("DaemonSet", "spec/template/spec"),
    ("StatefulSet", "spec/template/spec"),
    ("Job", "spec/template/spec"),
    ("CronJob", "spec/jobTemplate/spec/template/spec"),
];

/// Kinds whose accounts, claims and priorities are looked at.
const OWNERS: &[(&str, &str)] = &[
    ("Pod", "spec"),
    ("StatefulSet", "spec/template/spec"),
    ("Deployment", "spec/template/spec"),
    ("ReplicationController", "spec/template/spec"),
    ("CronJob", "spec/jobTemplate/spec/template/spec"),
    ("Job", "spec/template/spec"),
    ("DaemonSet", "spec/template/spec"),
];

fn in_pods(pods: &[(&str, &str)], paths: &[&str]) -> Vec<Field> {
    let fields =
        pods.iter().flat_map(|(of, pod)| paths.iter().map(move |path| (of, format!("{pod}/{path}"))));
    fields.map(|(of, path)| field(of, &path, false)).collect()
}

fn references() -> Vec<References> {
    let of = |of: &str, fields: Vec<Field>| References { kind: kind(of), fields };
    let at =
        |fields: &[(&str, &str)]| fields.iter().map(|(of, path)| field(of, path, false)).collect::<Vec<_>>();
    let with = |mut fields: Vec<Field>, more: &[(&str, &str)]| {
        fields.extend(at(more));
        fields
    };
    let scaled = || at(&[("HorizontalPodAutoscaler", "spec/scaleTargetRef/name")]);
    let rbac = "rbac.authorization.k8s.io";
    let (binding, cluster_binding) = (format!("{rbac}//RoleBinding"), format!("{rbac}//ClusterRoleBinding"));
    vec![
        of("Deployment", scaled()),
        of("ReplicationController", scaled()),
        of("ReplicaSet", scaled()),
        of("StatefulSet", scaled()),
        of("/v1/ConfigMap", with(in_pods(PODS, CONFIG_MAP_IN_POD), CONFIG_MAP_REFERENCES)),
        of("/v1/Secret", with(in_pods(PODS, SECRET_IN_POD), SECRET_REFERENCES)),
        of("/v1/Service", at(SERVICE_REFERENCES)),
        of(&format!("{rbac}//Role"), at(&[(&binding, "roleRef/name")])),
        of(
            &format!("{rbac}//ClusterRole"),
            at(&[(&binding, "roleRef/name"), (&cluster_binding, "roleRef/name")]),
        ),
        of(
            "/v1/ServiceAccount",
            with(at(&[(&binding, "subjects"), (&cluster_binding, "subjects")]), &[])
                .into_iter()
                .chain(in_pods(OWNERS, &["serviceAccountName"]))
                .collect(),
        ),
        of("/v1/PersistentVolumeClaim", in_pods(OWNERS, &["volumes/persistentVolumeClaim/claimName"])),
        of(
            "/v1/PersistentVolume",
            at(&[("PersistentVolumeClaim", "spec/volumeName"), ("ClusterRole", "rules/resourceNames")]),
        ),
        of(
            "storage.k8s.io/v1/StorageClass",
            at(&[
                ("PersistentVolume", "spec/storageClassName"),
                ("PersistentVolumeClaim", "spec/storageClassName"),
                ("StatefulSet", "spec/volumeClaimTemplates/spec/storageClassName"),
            ]),
        ),
        of("scheduling.k8s.io/v1/PriorityClass", in_pods(OWNERS, &["priorityClassName"])),
        of(
            "admissionregistration.k8s.io//ValidatingAdmissionPolicy",
            at(&[("admissionregistration.k8s.io//ValidatingAdmissionPolicyBinding", "spec/policyName")]),
        ),
    ]
}

const CONFIG_MAP_IN_POD: &[&str] = &[
    "volumes/configMap/name",
    "containers/env/valueFrom/configMapKeyRef/name",
    "initContainers/env/valueFrom/configMapKeyRef/name",
    "containers/envFrom/configMapRef/name",
    "initContainers/envFrom/configMapRef/name",
    "volumes/projected/sources/configMap/name",
];

const CONFIG_MAP_REFERENCES: &[(&str, &str)] = &[
    ("Node", "spec/configSource/configMap"),
    ("Role", "rules/resourceNames"),
    ("ClusterRole", "rules/resourceNames"),
    ("Ingress", "metadata/annotations/nginx.ingress.kubernetes.io\\/fastcgi-params-configmap"),
];

const SECRET_IN_POD: &[&str] = &[
    "volumes/secret/secretName",
    "containers/env/valueFrom/secretKeyRef/name",
    "initContainers/env/valueFrom/secretKeyRef/name",
    "containers/envFrom/secretRef/name",
    "initContainers/envFrom/secretRef/name",
    "imagePullSecrets/name",
    "volumes/projected/sources/secret/name",
];

const SECRET_REFERENCES: &[(&str, &str)] = &[
    ("Ingress", "spec/tls/secretName"),
    ("Ingress", "metadata/annotations/ingress.kubernetes.io\\/auth-secret"),
    ("Ingress", "metadata/annotations/nginx.ingress.kubernetes.io\\/auth-secret"),
    ("Ingress", "metadata/annotations/nginx.ingress.kubernetes.io\\/auth-tls-secret"),
    ("ServiceAccount", "imagePullSecrets/name"),
    ("StorageClass", "parameters/secretName"),
    ("StorageClass", "parameters/adminSecretName"),
    ("StorageClass", "parameters/userSecretName"),
    ("StorageClass", "parameters/secretRef"),
    ("Role", "rules/resourceNames"),
    ("ClusterRole", "rules/resourceNames"),
    ("serving.knative.dev/v1/Service", "spec/template/spec/containers/env/valueFrom/secretKeyRef/name"),
    ("PersistentVolume", "spec/azureFile/secretName"),
];

const SERVICE_REFERENCES: &[(&str, &str)] = &[
    ("apps//StatefulSet", "spec/serviceName"),
    ("Ingress", "spec/rules/http/paths/backend/serviceName"),
    ("Ingress", "spec/backend/serviceName"),
    ("Ingress", "spec/rules/http/paths/backend/service/name"),
    ("Ingress", "spec/defaultBackend/service/name"),
    ("apiregistration.k8s.io//APIService", "spec/service/name"),
    ("admissionregistration.k8s.io//ValidatingWebhookConfiguration", "webhooks/clientConfig/service"),
    ("admissionregistration.k8s.io//MutatingWebhookConfiguration", "webhooks/clientConfig/service"),
];

fn variables() -> Vec<Field> {
    let kinds = [
        ("CronJob", "spec/jobTemplate/spec/template/spec"),
        ("DaemonSet", "spec/template/spec"),
        ("Deployment", "spec/template/spec"),
        ("Job", "spec/template/spec"),
        ("Pod", "spec"),
        ("ReplicaSet", "spec/template/spec"),
        ("StatefulSet", "spec/template/spec"),
    ];
    let places = ["args", "command", "env/value", "volumeMounts/mountPath"];
    let mut fields = Vec::new();
    for containers in ["containers", "initContainers"] {
        for place in places {
            fields.extend(in_pods(&kinds, &[&format!("{containers}/{place}")]));
        }
    }
    for (of, path) in [
        ("CronJob", "spec/jobTemplate/spec/template/volumes/nfs/server"),
        ("DaemonSet", "spec/template/spec/volumes/nfs/server"),
        ("Deployment", "spec/template/spec/volumes/nfs/server"),
        ("Deployment", "spec/template/metadata/annotations"),
        ("Ingress", "spec/rules/host"),
        ("Ingress", "spec/tls/hosts"),
        ("Ingress", "spec/tls/secretName"),
        ("Job", "spec/template/spec/volumes/nfs/server"),
        ("Pod", "spec/volumes/nfs/server"),
        ("ReplicaSet", "spec/template/spec/volumes/nfs/server"),
        ("Service", "spec/ports/port"),
        ("Service", "spec/ports/targetPort"),
        ("StatefulSet", "spec/volumeClaimTemplates/spec/nfs/server"),
        ("PersistentVolume", "spec/nfs/server"),
        ("", "metadata/labels"),
        ("", "metadata/annotations"),
    ] {
        fields.push(field(of, path, false));
    }
    fields
}
