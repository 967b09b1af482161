//! `prow config schema` and `prow config docs`: what the configuration files may say, for editors and for people.

use crate::flags;
use clap::{Args as ClapArgs, ValueEnum};
use prow_config::schema;

/// Which file.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Which file to describe: config.yaml, plugins.yaml, a file of jobs, or .prow.yaml in a tested repository
    #[arg(long, value_enum, default_value_t = Kind::Config)]
    kind: Kind,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Config,
    Plugins,
    Jobs,
    ProwYaml,
}

impl From<Kind> for schema::Kind {
    fn from(kind: Kind) -> schema::Kind {
        match kind {
            Kind::Config => schema::Kind::Config,
            Kind::Plugins => schema::Kind::Plugins,
            Kind::Jobs => schema::Kind::Jobs,
            Kind::ProwYaml => schema::Kind::ProwYaml,
        }
    }
}

/// Prints the JSON Schema.
pub fn schema(args: &Args) -> anyhow::Result<()> {
    let schema = schema::schema(args.kind.into());
    flags::print(&format!("{}\n", serde_json::to_string_pretty(&schema)?))
}

/// Prints the annotated example.
pub fn docs(args: &Args) -> anyhow::Result<()> {
    flags::print(&schema::example(args.kind.into()))
}
