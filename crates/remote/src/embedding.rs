//! Vectors from a server: in batches, in the order of the texts, of unit length.

use lumos_core::{BackendError, BackendErrorKind, Basis, CallReport, DeltaSink, Embeddings, Usage};

use crate::backend::{Exchange, RemoteBackend};
use crate::failure::{Failed, error};

/// Most texts in a request: Gemini takes 100, and the vectors of as many stay below the usual bound of a reply.
const BATCH: usize = 64;

/// Embeds `texts`.
pub(crate) async fn embed(
    backend: &RemoteBackend,
    texts: Vec<String>,
    deltas: &dyn DeltaSink,
) -> Result<Embeddings, BackendError> {
    let refuse = |why: &str| {
        let message = format!("{} {why}", backend.options.model);
        Err(error(BackendErrorKind::InvalidRequest, message))
    };
    if !backend.options.embed {
        return refuse("is bound as a chat model and makes no vectors");
    }
    let mut vectors = Vec::with_capacity(texts.len());
    let mut all: Option<CallReport> = None;
    for batch in texts.chunks(BATCH) {
        let Some(call) = backend.wire.embed(&backend.options.model, batch, backend.options.dimensions) else {
            return refuse("cannot embed: the provider makes no vectors; bind the alias to another one");
        };
        let mut exchange = Exchange::begin(backend);
        let work = async {
            let mut reply = backend.send(call, "application/json", &mut exchange, deltas).await?;
            let body = reply.text().await?;
            Ok(backend.wire.vectors(&body)?)
        };
        let limit = backend.options.timeouts.first_token;
        let done = tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            let message = format!("no vectors from {} within {} s", backend.transport.server, limit.as_secs_f64());
            Err(Failed::from(error(BackendErrorKind::Transient, message)))
        });
        let checked = done.and_then(|(found, tokens)| {
            let width = vectors.first().map(Vec::len);
            Ok((checked(found, batch.len(), backend.options.dimensions.map(|it| it as usize).or(width))?, tokens))
        });
        let (found, tokens) = match checked {
            Ok(good) => good,
            Err(Failed { error, billed }) => {
                let last = (billed && exchange.sent > 0).then(|| exchange.report(backend));
                let report = match (all, last) {
                    (Some(all), Some(last)) => Some(all.then(last)),
                    (all, last) => all.or(last),
                };
                return Err(backend.named(error).with_report(report));
            }
        };
        let usage = Usage { input_tokens: tokens, output_tokens: Some(0), ..Usage::default() };
        let report = CallReport { usage, ..exchange.report(backend) };
        all = Some(match all {
            Some(before) => before.then(report),
            None => report,
        });
        vectors.extend(found);
    }
    let nothing = || CallReport {
        usage: Usage { input_tokens: Some(0), output_tokens: Some(0), ..Usage::default() },
        ..CallReport::new(Basis::Measured)
    };
    Ok(Embeddings { vectors, report: all.unwrap_or_else(nothing) })
}

/// `vectors` with unit length; `Err` when they are not what was asked for.
fn checked(mut vectors: Vec<Vec<f32>>, texts: usize, dimensions: Option<usize>) -> Result<Vec<Vec<f32>>, BackendError> {
    let fail = |message: String| Err(error(BackendErrorKind::Unusable, message));
    if vectors.len() != texts {
        return fail(format!("the server gave {} vectors for {texts} texts", vectors.len()));
    }
    let dimensions = dimensions.or_else(|| vectors.first().map(Vec::len)).unwrap_or(0);
    for vector in &mut vectors {
        if vector.len() != dimensions {
            return fail(format!("the server gave a vector of {} entries, wanted {dimensions}", vector.len()));
        }
        let length = vector.iter().map(|entry| f64::from(*entry).powi(2)).sum::<f64>().sqrt();
        if !length.is_normal() {
            return fail("the server gave a vector without a direction".to_owned());
        }
        for entry in vector {
            *entry = (f64::from(*entry) / length) as f32;
        }
    }
    Ok(vectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_get_unit_length_or_are_refused() {
        assert_eq!(checked(vec![vec![3.0, 4.0]], 1, None).unwrap(), [[0.6, 0.8]]);
        for (vectors, texts, dimensions) in [
            (vec![vec![1.0]], 2, None),
            (vec![vec![1.0], vec![1.0, 2.0]], 2, None),
            (vec![vec![1.0]], 1, Some(2)),
            (vec![vec![0.0, 0.0]], 1, None),
            (vec![vec![f32::INFINITY]], 1, None),
        ] {
            assert_eq!(checked(vectors, texts, dimensions).unwrap_err().kind, BackendErrorKind::Unusable);
        }
    }
}
