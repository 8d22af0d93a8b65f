//! The store a command works on: a server, the engine that a collector is running, or one started for the moment.

use crate::clickhouse::{Engine, Store};
use crate::config::{StoreArgs, StoreSettings};

pub(super) struct OpenStore {
    pub(super) store: Store,
    /// Started for the moment.
    engine: Option<Engine>,
}

impl OpenStore {
    /// Finds the store, and brings its tables up to date.
    pub(super) async fn open(settings: &StoreArgs) -> anyhow::Result<Self> {
        let (access, engine) = match settings.store()? {
            StoreSettings::Server(access) => (access, None),
            StoreSettings::Embedded(engine) => {
                if let Some(access) = Engine::running(&engine).await {
                    (access, None)
                } else {
                    let engine = Engine::start(engine).await?;
                    (engine.access(), Some(engine))
                }
            }
        };
        let open = Self { store: Store::new(&access), engine };
        match open.store.migrate().await {
            Ok(()) => Ok(open),
            Err(error) => {
                open.close().await;
                Err(error.into())
            }
        }
    }

    pub(super) async fn close(self) {
        if let Some(engine) = self.engine {
            engine.stop().await;
        }
    }
}
