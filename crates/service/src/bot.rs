//! What the bot says about itself below its comments, whichever component writes them (prow-runtime §2.8).

const ABOUT: &str = "Pull requests can be worked with by comments; how is told \
[here](https://git.k8s.io/community/contributors/guide/pull-requests.md). Questions about what I do, and wishes, are \
welcome as an issue of [kubernetes-sigs/prow](https://github.com/kubernetes-sigs/prow/issues/new?title=Prow%20issue:).";
const COMMANDS: &str = "All commands that I know are listed [here](https://go.k8s.io/bot-commands).";

/// Who writes this, and where to learn more; stands in the details of every comment.
pub fn about_this_bot() -> String {
    format!("{ABOUT} {COMMANDS}")
}
