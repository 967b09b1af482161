//! What a request asks for: its path, query and `Accept` header, read once and typed.

use http::{HeaderMap, Uri, header};
use serde_json::{Value, json};

use crate::resources::{Resource, find};
use crate::selector::Selector;
use crate::status::ApiError;

/// What a path names.
#[derive(Debug)]
pub struct Target {
    /// The kind.
    pub resource: &'static Resource,
    /// Empty for cluster-scoped kinds and for all namespaces.
    pub namespace: String,
    /// Empty for collections.
    pub name: String,
    /// Empty, `status`, `log`, `binding`.
    pub subresource: String,
}

/// Reads `/api/v1/...` and `/apis/GROUP/VERSION/...`. `None` if nothing of the kind is served.
pub fn target(path: &str) -> Option<Target> {
    let mut segments = Vec::new();
    for segment in path.strip_prefix('/')?.trim_end_matches('/').split('/') {
        segments.push(decode(segment)?);
    }
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (group, version, rest) = match segments.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] if !group.is_empty() => (*group, *version, rest),
        _ => return None,
    };
    // `/namespaces/NS/PLURAL` is a collection in a namespace, unless it is a subresource of the namespace itself.
    let (namespace, rest) = match rest {
        ["namespaces", ns, inner @ ..] if matches!(inner, [plural, ..] if *plural != "status" && *plural != "finalize") => {
            (*ns, inner)
        }
        rest => ("", rest),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (*plural, "", ""),
        [plural, name] => (*plural, *name, ""),
        [plural, name, subresource] => (*plural, *name, *subresource),
        _ => return None,
    };
    let resource = find(group, version, plural)?;
    // An empty segment names nothing; a namespace in the path of a cluster-scoped kind neither.
    if (rest.len() > 1 && (name.is_empty() || rest.len() > 2 && subresource.is_empty()))
        || (!resource.namespaced && !namespace.is_empty())
        || (resource.namespaced && namespace.is_empty() && !name.is_empty())
    {
        return None;
    }
    Some(Target {
        resource,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        subresource: subresource.to_owned(),
    })
}

/// A path segment without its percent-encoding; a NUL would end a store key, so it names nothing.
fn decode(segment: &str) -> Option<String> {
    if !segment.contains('%') {
        return Some(segment.to_owned());
    }
    let (mut bytes, mut rest) = (Vec::new(), segment.as_bytes());
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok().filter(|s| !s.contains('\0') && !s.contains('/'))
}

/// The query parameters; the first of a name counts.
#[derive(Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the query of a request.
    pub fn of(uri: &Uri) -> Query {
        let text = uri.query().unwrap_or("").as_bytes();
        Query(url::form_urlencoded::parse(text).into_owned().collect())
    }

    /// The value, empty if it was not given.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(k, _)| k == name).map_or("", |(_, v)| v.as_str())
    }

    /// A truth value; absent is false.
    pub fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.get(name) {
            "" | "false" | "0" => Ok(false),
            "true" | "1" => Ok(true),
            other => Err(ApiError::bad_request(format!("{name}: {other:?} is not true or false"))),
        }
    }

    /// A whole number, not negative.
    pub fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        match self.get(name) {
            "" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|_| ApiError::bad_request(format!("{name}: {text:?} is not a whole number"))),
        }
    }

    /// True for `dryRun=All`; any other value is refused.
    pub fn dry_run(&self) -> Result<bool, ApiError> {
        match self.get("dryRun") {
            "" => Ok(false),
            "All" => Ok(true),
            other => Err(unsupported_dry_run(other)),
        }
    }

    /// The resourceVersion that a list or watch names; `None` for "" and "0", which mean any.
    pub fn version(&self) -> Result<Option<u64>, ApiError> {
        match self.get("resourceVersion") {
            "" | "0" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|_| ApiError::bad_request(format!("invalid resourceVersion: {text:?}"))),
        }
    }

    /// Both selectors.
    pub fn selector(&self, resource: &Resource) -> Result<Selector, ApiError> {
        Selector::parse(resource, self.get("labelSelector"), self.get("fieldSelector"))
    }
}

fn unsupported_dry_run(asked: &str) -> ApiError {
    let why = format!("Unsupported value: {asked:?}: supported values: \"All\"");
    ApiError::invalid_options("CreateOptions.meta.k8s.io", "dryRun", &why)
}

/// How the client wants objects to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As they are.
    Object,
    /// Only their metadata (`as=PartialObjectMetadata` or `...List`).
    Metadata,
    /// Rows of a `Table`.
    Table(Include),
}

/// What a row of a table carries beside its cells (`includeObject`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Include {
    /// Nothing.
    None,
    /// The metadata.
    Metadata,
    /// The object.
    Object,
}

/// The first representation in `Accept` that this server speaks.
pub fn format(headers: &HeaderMap, query: &Query) -> Result<Format, ApiError> {
    let mut asked = false;
    for value in headers.get_all(header::ACCEPT) {
        for range in value.to_str().unwrap_or("").split(',') {
            let mut parts = range.split(';').map(str::trim);
            let essence = parts.next().unwrap_or("");
            if essence.is_empty() {
                continue;
            }
            asked = true;
            if !matches!(essence, "application/json" | "application/*" | "*/*") {
                continue;
            }
            let parameter =
                |name: &str| parts.clone().filter_map(|p| p.split_once('=')).find(|(k, _)| *k == name);
            let meta_v1 = parameter("g").is_none_or(|(_, g)| g == "meta.k8s.io")
                && parameter("v").is_none_or(|(_, v)| v == "v1");
            match parameter("as").map(|(_, kind)| kind) {
                None => return Ok(Format::Object),
                Some("Table") if meta_v1 => {
                    return Ok(Format::Table(match query.get("includeObject") {
                        "" | "Metadata" => Include::Metadata,
                        "None" => Include::None,
                        "Object" => Include::Object,
                        other => {
                            return Err(ApiError::bad_request(format!(
                                "includeObject: {other:?} is not one of None, Metadata, Object"
                            )));
                        }
                    }));
                }
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") if meta_v1 => {
                    return Ok(Format::Metadata);
                }
                // Kinds of later versions; clients name a fallback behind them.
                Some(_) => {}
            }
        }
    }
    if asked { Err(ApiError::not_acceptable()) } else { Ok(Format::Object) }
}

/// `DeleteOptions`: of the body if there is one, else of the query. A body leaves nothing to the query, not even what it
/// does not mention.
pub fn delete_options(body: &[u8], query: &Query) -> Result<(crate::write::DeleteOptions, bool), ApiError> {
    let body: Value = if body.is_empty() {
        options_of_query(query)?
    } else {
        serde_json::from_slice(body)
            .map_err(|e| ApiError::bad_request(format!("the delete options are not readable as JSON: {e}")))?
    };
    let grace = match &body["gracePeriodSeconds"] {
        Value::Null => None,
        value => Some(value.as_i64().ok_or_else(|| {
            ApiError::bad_request(format!("gracePeriodSeconds: {value} is not a whole number"))
        })?),
    };
    // Ten years: keeps every deletionTimestamp within what clients can read.
    if grace.is_some_and(|g| g > 315_360_000) {
        return Err(ApiError::bad_request("gracePeriodSeconds is longer than ten years"));
    }
    let invalid = |field, why: &str| ApiError::invalid_options("DeleteOptions.meta.k8s.io", field, why);
    // Nothing here is owned by anything that is collected, so every policy comes to the same.
    match &body["propagationPolicy"] {
        Value::Null => {}
        _ if !body["orphanDependents"].is_null() => {
            let why = "Invalid value: orphanDependents and deletionPropagation cannot be both set";
            return Err(invalid("propagationPolicy", why));
        }
        policy if ["Foreground", "Background", "Orphan"].contains(&policy.as_str().unwrap_or("")) => {}
        other => {
            let why = format!(
                "Unsupported value: {other}: supported values: \"Background\", \"Foreground\", \"Orphan\""
            );
            return Err(invalid("propagationPolicy", &why));
        }
    }
    let dry_run = match body["dryRun"].as_array().map(Vec::as_slice) {
        None | Some([]) => false,
        Some(values) => match values.iter().find(|v| **v != "All") {
            None => true,
            Some(other) => return Err(unsupported_dry_run(other.as_str().unwrap_or(""))),
        },
    };
    let text = |name: &str| body["preconditions"][name].as_str().map(str::to_owned);
    let options = crate::write::DeleteOptions { grace, uid: text("uid"), version: text("resourceVersion") };
    Ok((options, dry_run))
}

/// The delete options that a query can have.
fn options_of_query(query: &Query) -> Result<Value, ApiError> {
    let mut options = json!({});
    match query.get("gracePeriodSeconds") {
        "" => {}
        text => {
            let seconds: i64 = text.parse().map_err(|_| {
                ApiError::bad_request(format!("gracePeriodSeconds: {text:?} is not a whole number"))
            })?;
            options["gracePeriodSeconds"] = json!(seconds);
        }
    }
    for (name, is_flag) in [("propagationPolicy", false), ("orphanDependents", true)] {
        match query.get(name) {
            "" => {}
            _ if is_flag => options[name] = json!(query.flag(name)?),
            text => options[name] = json!(text),
        }
    }
    if query.dry_run()? {
        options["dryRun"] = json!(["All"]);
    }
    Ok(options)
}

/// Refuses options of a list or watch that contradict each other, as Kubernetes does.
pub fn check_list_options(query: &Query, watch: bool) -> Result<(), ApiError> {
    let (version, matching) = (query.get("resourceVersion"), query.get("resourceVersionMatch"));
    let refuse = |field, why: &str| Err(ApiError::invalid_options("ListOptions.meta.k8s.io", field, why));
    let initial = "sendInitialEvents";
    if watch {
        // Asked for or asked away, it is the same.
        let said = !query.get(initial).is_empty();
        return match matching {
            "" if said => refuse(
                "resourceVersionMatch",
                "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ),
            "" => Ok(()),
            _ if !said => refuse(
                "resourceVersionMatch",
                "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ),
            "NotOlderThan" => Ok(()),
            other => refuse(
                "resourceVersionMatch",
                &format!("Unsupported value: {other:?}: supported values: \"NotOlderThan\""),
            ),
        };
    }
    if !query.get(initial).is_empty() {
        return refuse(initial, "Forbidden: sendInitialEvents is forbidden for list");
    }
    match matching {
        "" => Ok(()),
        _ if !query.get("continue").is_empty() => refuse(
            "resourceVersionMatch",
            "Forbidden: resourceVersionMatch is forbidden when continue is provided",
        ),
        _ if version.is_empty() => refuse(
            "resourceVersionMatch",
            "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
        ),
        "Exact" if version == "0" => refuse(
            "resourceVersionMatch",
            "Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
        ),
        "Exact" | "NotOlderThan" => Ok(()),
        other => {
            let why = format!("Unsupported value: {other:?}: supported values: \"Exact\", \"NotOlderThan\"");
            refuse("resourceVersionMatch", &why)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (path, expected) in [
            ("/api/v1/pods", Some(("pods", "", "", ""))),
            ("/api/v1/namespaces/n/pods", Some(("pods", "n", "", ""))),
            ("/api/v1/namespaces/n/pods/p", Some(("pods", "n", "p", ""))),
            ("/api/v1/namespaces/n/pods/p/log", Some(("pods", "n", "p", "log"))),
            ("/api/v1/namespaces", Some(("namespaces", "", "", ""))),
            ("/api/v1/namespaces/n", Some(("namespaces", "", "n", ""))),
            ("/api/v1/namespaces/n/status", Some(("namespaces", "", "n", "status"))),
            ("/api/v1/namespaces/namespaces/pods/a%20b", Some(("pods", "namespaces", "a b", ""))),
            ("/apis/prow.k8s.io/v1/prowjobs", Some(("prowjobs", "", "", ""))),
            ("/apis/prow.k8s.io/v1/namespaces/n/prowjobs/j", Some(("prowjobs", "n", "j", ""))),
            ("/apis/coordination.k8s.io/v1/namespaces/n/leases/l/", Some(("leases", "n", "l", ""))),
            ("/api/v1/pods/p", None),
            ("/api/v1/namespaces/n/nodes", None),
            ("/api/v1/namespaces/n/pods//log", None),
            ("/api/v1/namespaces/n/pods/p/log/x", None),
            ("/api/v1/namespaces/n/pods/a%00b", None),
            ("/api/v1/namespaces/n/pods/a%2Fb", None),
            ("/api/v1/namespaces/n/pods/a%", None),
            ("/api/v2/pods", None),
            ("/apis/prow.k8s.io/v1/pods", None),
            ("/api/v1", None),
            ("/", None),
        ] {
            let found = target(path);
            let found = found
                .as_ref()
                .map(|t| (t.resource.plural, t.namespace.as_str(), t.name.as_str(), t.subresource.as_str()));
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn accept_headers() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        for (accept, expected) in [
            ("", Some(Format::Object)),
            ("*/*", Some(Format::Object)),
            ("application/json", Some(Format::Object)),
            (kubectl, Some(Format::Table(Include::Metadata))),
            ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", Some(Format::Metadata)),
            (
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json",
                Some(Format::Object),
            ),
            ("application/vnd.kubernetes.protobuf,application/json", Some(Format::Object)),
            ("application/vnd.kubernetes.protobuf", None),
        ] {
            let mut headers = HeaderMap::new();
            if !accept.is_empty() {
                headers.insert(header::ACCEPT, accept.parse().unwrap());
            }
            assert_eq!(format(&headers, &Query::default()).ok(), expected, "{accept}");
        }
    }

    #[test]
    fn deletes() {
        let q = |text: &str| Query::of(&format!("/x?{text}").parse().unwrap());
        let (o, dry) = delete_options(b"", &q("gracePeriodSeconds=0&dryRun=All")).unwrap();
        assert_eq!((o.grace, dry), (Some(0), true));
        let body = br#"{"gracePeriodSeconds": 5, "preconditions": {"uid": "u", "resourceVersion": "9"}}"#;
        let (o, dry) = delete_options(body, &q("gracePeriodSeconds=0")).unwrap();
        assert_eq!(
            (o.grace, o.uid.as_deref(), o.version.as_deref(), dry),
            (Some(5), Some("u"), Some("9"), false)
        );
        for (body, query) in [
            (&b"{"[..], ""),
            (b"{\"gracePeriodSeconds\":\"x\"}", ""),
            (b"", "gracePeriodSeconds=x"),
            (b"", "gracePeriodSeconds=9999999999"),
        ] {
            assert_eq!(delete_options(body, &q(query)).unwrap_err().code, 400);
        }
        for query in
            ["dryRun=Some", "propagationPolicy=Sometimes", "propagationPolicy=Orphan&orphanDependents=true"]
        {
            assert_eq!(delete_options(b"", &q(query)).unwrap_err().code, 422, "{query}");
        }
        // Where there is a body, the query says nothing.
        for body in ["{}", "{\"gracePeriodSeconds\":null}", "{\"propagationPolicy\":\"Background\"}"] {
            let (o, dry) = delete_options(body.as_bytes(), &q("gracePeriodSeconds=7&dryRun=All")).unwrap();
            assert_eq!((o.grace, dry), (None, false), "{body}");
        }
        let (_, dry) = delete_options(br#"{"dryRun": ["All"]}"#, &q("")).unwrap();
        assert!(dry);
    }

    #[test]
    fn options_of_lists_and_watches_fit_together() {
        for (watch, query, ok) in [
            (false, "", true),
            (false, "resourceVersion=7", true),
            (false, "resourceVersion=7&resourceVersionMatch=Exact", true),
            (false, "resourceVersion=0&resourceVersionMatch=NotOlderThan", true),
            (false, "resourceVersion=0&resourceVersionMatch=Exact", false),
            (false, "resourceVersionMatch=NotOlderThan", false),
            (false, "resourceVersion=7&resourceVersionMatch=Nearly", false),
            (false, "resourceVersion=7&resourceVersionMatch=Exact&continue=x", false),
            (false, "sendInitialEvents=true", false),
            (true, "resourceVersion=7", true),
            (true, "resourceVersion=7&resourceVersionMatch=NotOlderThan", false),
            (true, "sendInitialEvents=true", false),
            (true, "sendInitialEvents=true&resourceVersionMatch=Exact", false),
            (true, "sendInitialEvents=true&resourceVersionMatch=NotOlderThan", true),
            (true, "sendInitialEvents=false&resourceVersionMatch=NotOlderThan", true),
        ] {
            let query = Query::of(&format!("/x?{query}").parse().unwrap());
            let checked = check_list_options(&query, watch);
            assert_eq!(
                checked.as_ref().map_err(|e| e.code),
                if ok { Ok(&()) } else { Err(422) },
                "{query:?}"
            );
        }
    }
}
