//! Service accounts with no more rights than upstream's manifests give each component (prow-runtime §14.2).

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use kube::api::{Api, ObjectMeta, PostParams};
use kube::config::Kubeconfig;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Of a component: API group, resource, verbs; in the namespace of ProwJobs, and in that of Pods.
type Rules = &'static [(&'static str, &'static str, &'static str)];
const COMPONENTS: [(&str, Rules, Rules); 6] = [
    (
        "prow-controller-manager",
        &[
            ("prow.k8s.io", "prowjobs", "get list watch update patch"),
            ("coordination.k8s.io", "leases", "get update create"),
            ("", "events", "create"),
        ],
        &[("", "pods", "create delete get list patch watch")],
    ),
    (
        "sinker",
        &[
            ("prow.k8s.io", "prowjobs", "get list watch delete"),
            ("coordination.k8s.io", "leases", "get update create"),
        ],
        &[("", "pods", "delete list watch get patch")],
    ),
    ("horologium", &[("prow.k8s.io", "prowjobs", "create list watch")], &[]),
    ("hook", &[("prow.k8s.io", "prowjobs", "create get list update")], &[]),
    (
        "crier",
        &[("prow.k8s.io", "prowjobs", "get watch list patch")],
        &[("", "pods", "get list patch"), ("", "events", "get list")],
    ),
    ("deck", &[("prow.k8s.io", "prowjobs", "get list watch")], &[("", "pods/log", "get")]),
];

/// Makes the accounts, and a kubeconfig for each that differs from `admin` in the user's token only.
pub async fn identities(
    client: &kube::Client,
    admin: &Path,
    namespace: &str,
    dir: &Path,
) -> BTreeMap<&'static str, PathBuf> {
    let mut out = BTreeMap::new();
    let params = PostParams::default();
    for (component, jobs, pods) in COMPONENTS {
        let named = |name: &str| ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let account = ServiceAccount { metadata: named(component), ..ServiceAccount::default() };
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
        accounts.create(&params, &account).await.unwrap();
        for (namespace_of, rules) in [(namespace.to_owned(), jobs), (format!("{namespace}-pods"), pods)] {
            let list = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
            let rules = rules
                .iter()
                .map(|(group, resource, verbs)| PolicyRule {
                    api_groups: Some(vec![(*group).to_owned()]),
                    resources: Some(vec![(*resource).to_owned()]),
                    verbs: list(verbs),
                    ..PolicyRule::default()
                })
                .collect();
            let role = Role { metadata: named(component), rules: Some(rules) };
            Api::namespaced(client.clone(), &namespace_of).create(&params, &role).await.unwrap();
            let binding = RoleBinding {
                metadata: named(component),
                role_ref: RoleRef {
                    api_group: Some("rbac.authorization.k8s.io".into()),
                    kind: "Role".into(),
                    name: component.into(),
                },
                subjects: Some(vec![Subject {
                    kind: "ServiceAccount".into(),
                    name: component.into(),
                    namespace: Some(namespace.into()),
                    ..Subject::default()
                }]),
            };
            Api::namespaced(client.clone(), &namespace_of).create(&params, &binding).await.unwrap();
        }
        let request = TokenRequest {
            spec: Some(TokenRequestSpec { expiration_seconds: Some(3600), ..TokenRequestSpec::default() }),
            ..TokenRequest::default()
        };
        let token = accounts.create_token_request(component, &params, &request).await.unwrap();
        let mut kubeconfig = Kubeconfig::read_from(admin).unwrap();
        for user in &mut kubeconfig.auth_infos {
            user.auth_info =
                serde_json::from_value(serde_json::json!({"token": token.status.as_ref().unwrap().token}))
                    .ok();
        }
        let path = dir.join(format!("kubeconfig-of-{component}"));
        std::fs::write(&path, serde_json::to_string(&kubeconfig).unwrap()).unwrap();
        out.insert(component, path);
    }
    // Under either of its names.
    out.insert("plank", out["prow-controller-manager"].clone());
    out
}
