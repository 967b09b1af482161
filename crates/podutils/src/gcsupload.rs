//! gcsupload: uploads files and directories for a run, and nothing else (prow-runtime §11.24).

use crate::upload::{Censoring, Uploader, artifacts};
use crate::{Env, Host, UtilityError, flags};
use prow_api::JobSpec;
use prow_api::options::{GCSUPLOAD_OPTIONS, JOB_SPEC};
use std::ffi::OsString;
use std::path::Path;

/// Options from GCSUPLOAD_OPTIONS, else flags. Failed uploads are exit code 1.
pub(crate) async fn main(args: Vec<OsString>, env: &Env, host: &Host) -> Result<u8, UtilityError> {
    let options = match env.json(GCSUPLOAD_OPTIONS)? {
        Some(options) => options,
        None => flags::gcsupload(args)?,
    };
    let spec: JobSpec = env.required(JOB_SPEC)?;
    let uploader = Uploader::new(&options, &spec, host)?;
    let mut targets = uploader.pointers();
    for item in &options.items {
        let found = artifacts(Path::new(item), &Censoring::default());
        targets.extend(found.into_iter().map(|(name, source)| uploader.target(&name, source)));
    }
    Ok(u8::from(uploader.upload(targets).await > 0))
}
