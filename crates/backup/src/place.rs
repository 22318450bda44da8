//! A place for second copies: a folder, or a bucket with a prefix. Objects there are written whole
//! or not at all, and read with a bound.

use std::fmt;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    BackoffConfig, Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig,
};

use crate::error::PlaceError;
use crate::https::Connector;

/// How long one object may take to be sent or read.
const TIME_MAX: Duration = Duration::from_secs(120);

/// How often an object of a base is tried to be written, and how long is waited in between: a base
/// begins anew otherwise.
const PUTS_MAX: usize = 4;
const PUT_PAUSE: Duration = Duration::from_millis(250);

/// Where copies go. Clones share its connections.
#[derive(Clone)]
pub struct Place {
    store: Arc<dyn ObjectStore>,
    url: String,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&self.url).finish()
    }
}

impl Place {
    /// The place that `url` names: a path or `file://`, `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`
    /// or `az://CONTAINER/PREFIX`. Credentials and endpoints come from the environment, as the
    /// tools of their vendors read them. Nothing is asked of it yet; a folder is made where it is
    /// not there and `make` says so.
    pub fn open(url: &str, make: bool) -> Result<Self, PlaceError> {
        let refused = |why: String| PlaceError::Refused { url: url.to_owned(), why };
        let of_store = |error: Error| refused(error.to_string());
        let store: Arc<dyn ObjectStore> = match url.split_once("://") {
            None => folder(FilePath::new(url), make).map_err(refused)?,
            Some(("file", path)) => folder(FilePath::new(path), make).map_err(refused)?,
            Some(("s3" | "s3a", rest)) => {
                let store = AmazonS3Builder::from_env()
                    .with_bucket_name(bucket_of(rest))
                    .with_retry(retries())
                    .with_http_connector(Connector);
                Arc::new(store.build().map_err(of_store)?)
            }
            Some(("gs", rest)) => {
                let store = GoogleCloudStorageBuilder::from_env()
                    .with_bucket_name(bucket_of(rest))
                    .with_retry(retries())
                    .with_http_connector(Connector);
                Arc::new(store.build().map_err(of_store)?)
            }
            Some(("az", rest)) => {
                let store = MicrosoftAzureBuilder::from_env()
                    .with_container_name(bucket_of(rest))
                    .with_retry(retries())
                    .with_http_connector(Connector);
                Arc::new(store.build().map_err(of_store)?)
            }
            Some((scheme, _)) => {
                let known = "a path, file://, s3://, gs:// or az://";
                return Err(refused(format!("\"{scheme}\" is none of {known}")));
            }
        };
        let bucket = url.split_once("://").filter(|(scheme, _)| *scheme != "file");
        let prefix = bucket.and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, rest)| rest);
        let prefix = Path::parse(prefix.trim_matches('/'));
        let prefix = prefix.map_err(|error| refused(error.to_string()))?;
        Ok(Self { store: Arc::new(PrefixStore::new(store, prefix)), url: url.to_owned() })
    }

    /// Any other store, for tests with faults.
    pub fn of(store: Arc<dyn ObjectStore>, url: &str) -> Self {
        Self { store, url: url.to_owned() }
    }

    /// How it was named.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Writes an object, in place of one that is there; some times where it fails.
    pub(crate) async fn put_patiently(&self, path: &Path, bytes: &Bytes) -> Result<(), PlaceError> {
        let mut left = PUTS_MAX;
        loop {
            left -= 1;
            match self.put_as(path, bytes.clone(), PutMode::Overwrite).await {
                Err(_) if left > 0 => tokio::time::sleep(PUT_PAUSE).await,
                put => return put.map(drop),
            }
        }
    }

    /// Writes an object unless one is there; whether it did.
    pub(crate) async fn create(&self, path: &Path, bytes: Bytes) -> Result<bool, PlaceError> {
        self.put_as(path, bytes, PutMode::Create).await
    }

    async fn put_as(&self, path: &Path, bytes: Bytes, mode: PutMode) -> Result<bool, PlaceError> {
        let options = PutOptions { mode, ..PutOptions::default() };
        let putting = self.store.put_opts(path, PutPayload::from(bytes), options);
        match timely(path, putting).await? {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. }) => Ok(false),
            Err(source) => Err(failed(path, source)),
        }
    }

    /// Reads an object of at most `bytes_max`.
    pub(crate) async fn get(&self, path: &Path, bytes_max: u64) -> Result<Bytes, PlaceError> {
        let reading = async {
            let found = self.store.get(path).await.map_err(|source| failed(path, source))?;
            let bytes = found.meta.size;
            if bytes > bytes_max {
                return Err(PlaceError::TooLong { name: path.to_string(), bytes, bytes_max });
            }
            found.bytes().await.map_err(|source| failed(path, source))
        };
        timely(path, reading).await?
    }

    /// The objects below a path whose names come after `after`, in order.
    pub(crate) async fn list(
        &self,
        below: &Path,
        after: Option<&Path>,
    ) -> Result<Vec<Path>, PlaceError> {
        let listing = match after {
            Some(after) => self.store.list_with_offset(Some(below), after),
            None => self.store.list(Some(below)),
        };
        let listing = listing.map_ok(|meta| meta.location).try_collect::<Vec<_>>();
        let mut found = timely(below, listing).await?.map_err(|source| failed(below, source))?;
        found.sort_unstable();
        Ok(found)
    }

    /// The names of the folders right below a path, in order.
    pub(crate) async fn folders(&self, below: Option<&Path>) -> Result<Vec<String>, PlaceError> {
        let root = Path::default();
        let path = below.unwrap_or(&root);
        let found = timely(path, self.store.list_with_delimiter(below)).await?;
        let found = found.map_err(|source| failed(path, source))?;
        let names = found.common_prefixes.iter().filter_map(Path::filename);
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Removes objects; one that is not there is removed.
    pub(crate) async fn remove(&self, paths: Vec<Path>) -> Result<(), PlaceError> {
        for path in paths {
            match timely(&path, self.store.delete(&path)).await? {
                Ok(()) | Err(Error::NotFound { .. }) => {}
                Err(source) => return Err(failed(&path, source)),
            }
        }
        Ok(())
    }
}

async fn timely<T>(path: &Path, work: impl Future<Output = T>) -> Result<T, PlaceError> {
    let done = tokio::time::timeout(TIME_MAX, work).await;
    done.map_err(|_| PlaceError::Silent { name: path.to_string(), seconds: TIME_MAX.as_secs() })
}

fn failed(path: &Path, source: Error) -> PlaceError {
    let name = path.to_string();
    match source {
        Error::NotFound { .. } => PlaceError::Missing { name },
        source => PlaceError::Failed { name, source },
    }
}

fn bucket_of(rest: &str) -> &str {
    rest.split_once('/').map_or(rest, |(bucket, _)| bucket)
}

/// A fault is told soon: whoever sends tries again by themselves, for as long as it takes.
fn retries() -> RetryConfig {
    let backoff = BackoffConfig { max_backoff: Duration::from_secs(2), ..BackoffConfig::default() };
    RetryConfig { backoff, max_retries: 2, retry_timeout: Duration::from_secs(60) }
}

fn folder(path: &FilePath, make: bool) -> Result<Arc<dyn ObjectStore>, String> {
    if path.as_os_str().is_empty() {
        return Err("it is empty".to_owned());
    }
    if make {
        // Hashes of passwords and what jobs carry go there: it is nobody's but its owner's.
        let made = std::fs::DirBuilder::new().mode(0o700).recursive(true).create(path);
        made.map_err(|error| error.to_string())?;
    }
    let store = LocalFileSystem::new_with_prefix(path).map_err(|error| error.to_string())?;
    Ok(Arc::new(store.with_fsync(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_no_place_is_refused() {
        for url in ["", "ftp://x/y", "file://", "/nowhere/at/all"] {
            let refused = Place::open(url, false).unwrap_err();
            assert!(matches!(refused, PlaceError::Refused { .. }), "{url}: {refused}");
        }
    }
}
