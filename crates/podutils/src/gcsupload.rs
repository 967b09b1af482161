//! gcsupload: uploads files and directories for a run, and nothing else (prow-runtime §11.24).

use crate::upload::{Censoring, Uploader, artifacts};
use crate::{Env, Host, UtilityError, flags};
use futures::StreamExt;
use prow_api::JobSpec;
use prow_api::options::{GCSUPLOAD_OPTIONS, JOB_SPEC};
use std::ffi::OsString;

/// Options from GCSUPLOAD_OPTIONS, else flags. Failed uploads are exit code 1.
pub(crate) async fn main(args: Vec<OsString>, env: &Env, host: &Host) -> Result<u8, UtilityError> {
    let options = match env.json(GCSUPLOAD_OPTIONS)? {
        Some(options) => options,
        None => flags::gcsupload(args)?,
    };
    let spec: JobSpec = env.required(JOB_SPEC)?;
    let uploader = Uploader::new(&options, &spec, host)?;
    let found = artifacts(options.items.clone(), Censoring::default());
    let targets = futures::stream::iter(uploader.pointers())
        .chain(found.map(|(name, source)| uploader.target(&name, source)));
    Ok(u8::from(uploader.upload_all(targets).await > 0))
}
