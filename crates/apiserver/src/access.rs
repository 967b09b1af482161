//! Who may do what: an administrator everything, a viewer reads everything but Secrets.
//!
//! There are no Roles and RoleBindings here. Two tokens are what a machine of one team needs: one to work with and one
//! to hand to dashboards. Refusals read like those of a real API server with RBAC.

use http::Method;
use serde_json::{Value, json};

use crate::request::Target;
use crate::resources::{RESOURCES, Resource, groups};
use crate::status::ApiError;

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everything; the user is called `admin`.
    Everything,
    /// Get, list and watch everything but Secrets; the user is called `viewer`.
    ReadOnly,
}

impl Access {
    fn user(self) -> &'static str {
        match self {
            Access::Everything => "admin",
            Access::ReadOnly => "viewer",
        }
    }

    fn allows(self, verb: &str, group: &str, plural: &str) -> bool {
        match self {
            Access::Everything => true,
            Access::ReadOnly => {
                matches!(verb, "get" | "list" | "watch") && !(group.is_empty() && plural == "secrets")
            }
        }
    }

    /// Refuses what the caller may not do, with 403.
    pub fn check(self, method: &Method, watch: bool, target: &Target) -> Result<(), ApiError> {
        let Target { resource, namespace, name, subresource } = target;
        let verb = verb(method, watch, !name.is_empty());
        if self.allows(verb, resource.group, resource.plural) {
            return Ok(());
        }
        let at = if namespace.is_empty() {
            " at the cluster scope".to_owned()
        } else {
            format!(" in the namespace {namespace:?}")
        };
        let what = part(resource, subresource);
        let why = format!(
            "User {user:?} cannot {verb} resource {what:?} in API group {group:?}{at}",
            user = self.user(),
            group = resource.group
        );
        Err(ApiError::forbidden(resource, name, &why))
    }

    /// The answer to a review of the asker by the asker, if `kind` is one that is answered.
    pub fn answer(self, kind: &str, mut review: Value) -> Option<Value> {
        let (group, status) = match kind {
            "SelfSubjectAccessReview" => return Some(self.review(review)),
            "SelfSubjectRulesReview" => ("authorization.k8s.io", self.rules()),
            "SelfSubjectReview" => {
                let groups = match self {
                    Access::Everything => json!(["system:masters", "system:authenticated"]),
                    Access::ReadOnly => json!(["system:authenticated"]),
                };
                ("authentication.k8s.io", json!({"userInfo": {"username": self.user(), "groups": groups}}))
            }
            _ => return None,
        };
        if !review.is_object() {
            review = json!({});
        }
        review["kind"] = json!(kind);
        review["apiVersion"] = json!(format!("{group}/v1"));
        review["status"] = status;
        Some(review)
    }

    /// What `kubectl auth can-i --list` shows.
    fn rules(self) -> Value {
        let resources = match self {
            Access::Everything => json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]),
            Access::ReadOnly => {
                let mut rules = Vec::new();
                for group in std::iter::once("").chain(groups().into_iter().map(|(group, _)| group)) {
                    let of = RESOURCES.iter().filter(|r| r.group == group);
                    let of = of.filter(|r| self.allows("get", r.group, r.plural));
                    let names: Vec<&str> = of.map(|r| r.plural).collect();
                    rules.push(
                        json!({"verbs": ["get", "list", "watch"], "apiGroups": [group], "resources": names}),
                    );
                }
                Value::Array(rules)
            }
        };
        let others = match self {
            Access::Everything => json!([{"verbs": ["*"], "nonResourceURLs": ["*"]}]),
            Access::ReadOnly => json!([{"verbs": ["get"], "nonResourceURLs": ["*"]}]),
        };
        json!({"resourceRules": resources, "nonResourceRules": others, "incomplete": false})
    }

    /// The answer to a `SelfSubjectAccessReview`.
    fn review(self, mut review: Value) -> Value {
        let asked = &review["spec"]["resourceAttributes"];
        let text = |name: &str| asked[name].as_str().unwrap_or("");
        // What is no resource is discovery and health: anybody who has a token reads it.
        let allowed = asked.is_null() || self.allows(text("verb"), text("group"), text("resource"));
        if review.is_object() {
            review["kind"] = json!("SelfSubjectAccessReview");
            review["apiVersion"] = json!("authorization.k8s.io/v1");
            review["status"] = json!({"allowed": allowed});
            if !allowed {
                review["status"]["reason"] =
                    json!(format!("{} may read everything but secrets", self.user()));
            }
        }
        review
    }
}

fn part(resource: &Resource, subresource: &str) -> String {
    if subresource.is_empty() {
        resource.plural.to_owned()
    } else {
        format!("{}/{subresource}", resource.plural)
    }
}

fn verb(method: &Method, watch: bool, one: bool) -> &'static str {
    match (method, one) {
        (&Method::GET | &Method::HEAD, true) => "get",
        (&Method::GET | &Method::HEAD, false) if watch => "watch",
        (&Method::GET | &Method::HEAD, false) => "list",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        (&Method::DELETE, true) => "delete",
        (&Method::DELETE, false) => "deletecollection",
        _ => "create",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request;

    #[test]
    fn a_viewer_reads_all_but_secrets() {
        for (method, path, allowed) in [
            (Method::GET, "/api/v1/namespaces/a/pods/p", true),
            (Method::GET, "/api/v1/namespaces/a/pods/p/log", true),
            (Method::GET, "/apis/prow.k8s.io/v1/prowjobs", true),
            (Method::GET, "/api/v1/namespaces/a/secrets", false),
            (Method::GET, "/api/v1/namespaces/a/secrets/s", false),
            (Method::POST, "/api/v1/namespaces/a/pods", false),
            (Method::PATCH, "/api/v1/namespaces/a/pods/p", false),
            (Method::DELETE, "/api/v1/namespaces/a/pods", false),
        ] {
            let target = request::target(path).unwrap();
            assert_eq!(Access::ReadOnly.check(&method, false, &target).is_ok(), allowed, "{method} {path}");
            assert!(Access::Everything.check(&method, false, &target).is_ok());
        }
        let target = request::target("/api/v1/namespaces/a/pods/p").unwrap();
        let e = Access::ReadOnly.check(&Method::DELETE, false, &target).unwrap_err();
        assert_eq!((e.code, e.reason), (403, "Forbidden"));
        let expected = "pods \"p\" is forbidden: User \"viewer\" cannot delete resource \"pods\" in API group \"\" in the \
                        namespace \"a\"";
        assert_eq!(e.message, expected);
    }

    #[test]
    fn reviews_answer_for_the_asker() {
        let who = Access::ReadOnly.answer("SelfSubjectReview", json!({})).unwrap();
        assert_eq!(who["status"]["userInfo"]["username"], "viewer");
        let rules = Access::ReadOnly.answer("SelfSubjectRulesReview", Value::Null).unwrap();
        let text = rules["status"]["resourceRules"].to_string();
        assert!(
            text.contains("configmaps") && text.contains("prowjobs") && !text.contains("secrets"),
            "{text}"
        );
        assert!(Access::Everything.answer("TokenReview", json!({})).is_none());
        let ask = |verb: &str| json!({"spec": {"resourceAttributes": {"verb": verb, "resource": "pods"}}});
        assert_eq!(Access::ReadOnly.review(ask("delete"))["status"]["allowed"], false);
        assert_eq!(Access::ReadOnly.review(ask("list"))["status"]["allowed"], true);
        assert_eq!(Access::Everything.review(ask("delete"))["status"]["allowed"], true);
    }
}
