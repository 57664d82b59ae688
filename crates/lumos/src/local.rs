//! Local models and assets for bundles; without the feature `local`, errors that say so.

use lumos_agents::AssetResolver;
use lumos_core::SharedBackend;
use lumos_core::load::Bundle;
use lumos_core::spec::LocalSpec;

use crate::error::Error;
use crate::lumos::Lumos;

#[cfg(feature = "local")]
impl Lumos {
    pub(crate) fn asset_resolver(&self) -> AssetResolver {
        let assets = self.assets.clone();
        std::sync::Arc::new(move |name| {
            assets.path(name).ok_or_else(|| {
                if assets.catalog().get(name).is_some() {
                    format!("the asset `{name}` is not here; `lumos assets pull {name}` gets it")
                } else {
                    format!("there is no asset `{name}` in the catalog")
                }
            })
        })
    }

    /// The model that a deployment names; the same one for equal specifications.
    pub(crate) fn open_local(&self, name: &str, spec: &LocalSpec, bundle: &Bundle) -> Result<SharedBackend, Error> {
        use std::sync::PoisonError;

        let fail = |message: String, hint: Option<String>| Error::Backend { backend: name.to_owned(), message, hint };
        let is_path = crate::needs::is_path(&spec.model);
        let folder = bundle.deployment.as_ref().map(|source| source.folder.clone()).unwrap_or_default();
        let path = if is_path {
            folder.join(&spec.model)
        } else {
            self.assets.path(&spec.model).ok_or_else(|| {
                let known = self.assets.catalog().get(&spec.model).is_some();
                let (message, hint) = if known {
                    ("is not here", format!("`lumos assets pull {}` gets it", spec.model))
                } else {
                    (
                        "is not in the catalog",
                        "`lumos assets list` shows the models there are; a path works too".to_owned(),
                    )
                };
                fail(format!("the model `{}` {message}", spec.model), Some(hint))
            })?
        };
        let key = format!("{} {:?} {:?}", path.display(), spec.device, spec.context);
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(backend) = opened.get(&key) {
            return Ok(backend.clone());
        }
        let stem = || path.file_stem().map_or_else(|| spec.model.clone(), |stem| stem.to_string_lossy().into_owned());
        let backend: SharedBackend = lumos_local::LocalModel::open(lumos_local::LocalOptions {
            name: if is_path { stem() } else { spec.model.clone() },
            path: path.clone(),
            device: spec.device,
            context: spec.context,
            cache_dir: Some(self.home.converted()),
            digest: self.digest(&spec.model),
            clock: std::sync::Arc::new(self.clock),
        })
        .map_err(|error| {
            let hint = "a model is an asset's name, or the path of a `.gguf` file or of a folder with \
                        `model.safetensors`, relative to the deployment's file";
            fail(error.message, Some(hint.to_owned()))
        })?;
        opened.insert(key, backend.clone());
        Ok(backend)
    }

    fn digest(&self, asset: &str) -> String {
        let files = self.assets.catalog().get(asset).into_iter().flat_map(|asset| &asset.files);
        files.max_by_key(|file| file.size).map(|file| file.sha256.clone()).unwrap_or_default()
    }
}

#[cfg(not(feature = "local"))]
impl Lumos {
    pub(crate) fn asset_resolver(&self) -> AssetResolver {
        std::sync::Arc::new(|name| Err(format!("this build has no assets, so `{name}` cannot be found")))
    }

    pub(crate) fn open_local(&self, name: &str, _: &LocalSpec, _: &Bundle) -> Result<SharedBackend, Error> {
        Err(Error::Backend {
            backend: name.to_owned(),
            message: "this build has no local models".to_owned(),
            hint: Some("build with the feature `local`".to_owned()),
        })
    }
}
