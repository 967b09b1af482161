//! The kinds this server knows: one table from which routes, discovery, selectors and rules are read.
//!
//! prow-config §1.1 for ProwJobs (namespaced, no status subresource); the Kubernetes API conventions for the rest.

/// When `metadata.generation` counts up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// The kind has no generation.
    None,
    /// A change of `spec`.
    Spec,
    /// Any change outside `metadata`, as Kubernetes does for custom resources without a status subresource.
    AllButMetadata,
}

/// One kind.
#[derive(Debug)]
pub struct Resource {
    /// API group, empty for core.
    pub group: &'static str,
    /// The one served version.
    pub version: &'static str,
    /// Name in paths.
    pub plural: &'static str,
    /// Name on the command line.
    pub singular: &'static str,
    /// Kind in objects.
    pub kind: &'static str,
    /// What kubectl takes for it.
    pub short_names: &'static [&'static str],
    /// `all` makes `kubectl get all` show it.
    pub categories: &'static [&'static str],
    /// Lives in a namespace.
    pub namespaced: bool,
    /// Has `/status`; the main path then leaves `.status` alone.
    pub has_status: bool,
    /// Generation rule.
    pub generation: Generation,
    /// An update without resourceVersion is taken.
    pub unconditional_update: bool,
    /// A PUT of an absent object creates it.
    pub create_on_update: bool,
    /// A patch of type strategic merge is taken (custom resources never take it).
    pub strategic_merge: bool,
    /// Field selectors beyond `metadata.name` and `metadata.namespace`.
    pub fields: &'static [&'static str],
}

impl Resource {
    /// `pods`, or `prowjobs.prow.k8s.io`.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `v1`, or `prow.k8s.io/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// True for `pods`, which have a kubelet that ends them.
    pub fn is_pods(&self) -> bool {
        self.group.is_empty() && self.plural == "pods"
    }

    /// True for `namespaces`.
    pub fn is_namespaces(&self) -> bool {
        self.group.is_empty() && self.plural == "namespaces"
    }

    /// True for core `events`.
    pub fn is_events(&self) -> bool {
        self.group.is_empty() && self.plural == "events"
    }

    /// True for ProwJobs.
    pub fn is_prowjobs(&self) -> bool {
        self.group == "prow.k8s.io"
    }
}

const CORE: Resource = Resource {
    group: "",
    version: "v1",
    plural: "",
    singular: "",
    kind: "",
    short_names: &[],
    categories: &[],
    namespaced: true,
    has_status: false,
    generation: Generation::None,
    unconditional_update: true,
    create_on_update: false,
    strategic_merge: true,
    fields: &[],
};

/// Every kind, core first.
pub static RESOURCES: &[Resource] = &[
    Resource { plural: "configmaps", singular: "configmap", kind: "ConfigMap", short_names: &["cm"], ..CORE },
    Resource {
        plural: "events",
        singular: "event",
        kind: "Event",
        short_names: &["ev"],
        create_on_update: true,
        fields: &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ..CORE
    },
    Resource {
        plural: "namespaces",
        singular: "namespace",
        kind: "Namespace",
        short_names: &["ns"],
        namespaced: false,
        has_status: true,
        fields: &["status.phase"],
        ..CORE
    },
    Resource {
        plural: "nodes",
        singular: "node",
        kind: "Node",
        short_names: &["no"],
        namespaced: false,
        has_status: true,
        fields: &["spec.unschedulable"],
        ..CORE
    },
    Resource {
        plural: "pods",
        singular: "pod",
        kind: "Pod",
        short_names: &["po"],
        categories: &["all"],
        has_status: true,
        generation: Generation::Spec,
        fields: &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        ..CORE
    },
    Resource { plural: "secrets", singular: "secret", kind: "Secret", fields: &["type"], ..CORE },
    Resource {
        plural: "serviceaccounts",
        singular: "serviceaccount",
        kind: "ServiceAccount",
        short_names: &["sa"],
        ..CORE
    },
    Resource {
        group: "coordination.k8s.io",
        plural: "leases",
        singular: "lease",
        kind: "Lease",
        unconditional_update: false,
        create_on_update: true,
        ..CORE
    },
    Resource {
        group: "prow.k8s.io",
        plural: "prowjobs",
        singular: "prowjob",
        kind: "ProwJob",
        generation: Generation::AllButMetadata,
        unconditional_update: false,
        strategic_merge: false,
        ..CORE
    },
];

/// The kind behind a path's group, version and plural.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|r| r.group == group && r.version == version && r.plural == plural)
}

/// The groups with their version, in discovery order, core left out. One version each, by the table above.
pub fn groups() -> Vec<(&'static str, &'static str)> {
    let mut groups: Vec<(&str, &str)> = Vec::new();
    for r in RESOURCES.iter().filter(|r| !r.group.is_empty()) {
        if !groups.contains(&(r.group, r.version)) {
            groups.push((r.group, r.version));
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_qualified() {
        for r in RESOURCES {
            assert!(std::ptr::eq(find(r.group, r.version, r.plural).unwrap(), r));
            assert!(!r.kind.is_empty() && !r.singular.is_empty());
        }
        assert_eq!(find("prow.k8s.io", "v1", "prowjobs").unwrap().qualified(), "prowjobs.prow.k8s.io");
        assert_eq!(find("", "v1", "pods").unwrap().qualified(), "pods");
        assert!(find("", "v1", "prowjobs").is_none());
    }
}
