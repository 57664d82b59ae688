//! Passages ready to be searched: ranked by words, by meaning, or by both.

use std::collections::BTreeMap;

use lumos_core::AgentError;

use super::lexical::Lexical;
use super::passages::Passage;

/// Fewest entries of each ranking that take part in a fusion.
const FUSION_DEPTH: usize = 100;

/// Passages with their indexes.
pub(super) struct Corpus {
    pub(super) passages: Vec<Passage>,
    /// One vector after the other, in the order of the passages; empty without an embedder.
    pub(super) vectors: Vec<f32>,
    /// Length of a vector; 0 without an embedder.
    pub(super) dimensions: usize,
    /// Absent where only meaning counts.
    pub(super) lexical: Option<Lexical>,
}

impl Corpus {
    /// The best `top_k` passages: their numbers and scores, best first, ties by number.
    ///
    /// With both rankings a passage scores `Σ 1 / (rrf_k + rank)` over the rankings that list it (Cormack, Clarke and
    /// Büttcher, 2009), with one ranking its BM25 score or cosine.
    pub(super) fn search(
        &self,
        query: &str,
        vector: Option<&[f32]>,
        rrf_k: u32,
        top_k: usize,
    ) -> Result<Vec<(usize, f64)>, AgentError> {
        let depth = if self.lexical.is_some() && vector.is_some() { FUSION_DEPTH.max(4 * top_k) } else { top_k };
        let words = match &self.lexical {
            Some(lexical) => Some(
                lexical
                    .search(query, depth)
                    .map_err(|error| AgentError::fatal(format!("cannot search the index: {error}")))?,
            ),
            None => None,
        };
        let meaning = match vector {
            Some(vector) => Some(self.nearest(vector, depth)?),
            None => None,
        };
        let mut best: Vec<(usize, f64)> = match (words, meaning) {
            (Some(words), Some(meaning)) => fuse(&[words, meaning], rrf_k),
            (Some(one), None) | (None, Some(one)) => {
                one.into_iter().map(|(number, score)| (number, f64::from(score))).collect()
            }
            (None, None) => Vec::new(),
        };
        best.truncate(top_k);
        Ok(best)
    }

    /// The passages nearest to `vector` by cosine.
    fn nearest(&self, vector: &[f32], most: usize) -> Result<Vec<(usize, f32)>, AgentError> {
        if vector.len() != self.dimensions {
            return Err(AgentError::fatal(format!(
                "the query's embedding has {} dimensions, the index {}",
                vector.len(),
                self.dimensions
            )));
        }
        let by_score = |a: &(usize, f32), b: &(usize, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        let mut scored: Vec<(usize, f32)> =
            self.vectors.chunks_exact(self.dimensions).map(|entry| dot(entry, vector)).enumerate().collect();
        if most < scored.len() {
            scored.select_nth_unstable_by(most, by_score);
            scored.truncate(most);
        }
        scored.sort_unstable_by(by_score);
        Ok(scored)
    }
}

/// The scalar product, summed in eight lanes so that the compiler can use vector instructions.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for lane in 0..8 {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// Reciprocal rank fusion; ranks count from 1.
fn fuse(rankings: &[Vec<(usize, f32)>], rrf_k: u32) -> Vec<(usize, f64)> {
    let mut scores: BTreeMap<usize, f64> = BTreeMap::new();
    for ranking in rankings {
        for (rank, (number, _)) in (1u32..).zip(ranking) {
            *scores.entry(*number).or_default() += 1.0 / (f64::from(rrf_k) + f64::from(rank));
        }
    }
    let mut fused: Vec<_> = scores.into_iter().collect();
    fused.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    fused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fusion_sums_reciprocal_ranks_and_breaks_ties_by_number() {
        let fused = fuse(&[vec![(7, 3.0), (2, 2.0)], vec![(2, 0.9), (7, 0.8), (5, 0.1)]], 60);
        let tie = 1.0 / 61.0 + 1.0 / 62.0;
        assert_eq!(fused, [(2, tie), (7, tie), (5, 1.0 / 63.0)]);
    }

    #[test]
    fn the_nearest_come_first() {
        let vectors = vec![1.0, 0.0, 0.0, 1.0, 0.6, 0.8, 1.0, 0.0];
        let corpus = Corpus { passages: Vec::new(), vectors, dimensions: 2, lexical: None };
        let order = |most| corpus.search("", Some(&[1.0, 0.0]), 60, most).unwrap();
        assert_eq!(order(9).iter().map(|hit| hit.0).collect::<Vec<_>>(), [0, 3, 2, 1]);
        assert_eq!(order(2).iter().map(|hit| hit.0).collect::<Vec<_>>(), [0, 3]);
        assert!(corpus.search("", Some(&[1.0]), 60, 1).is_err());
    }

    #[test]
    fn the_product_covers_every_entry() {
        let a: Vec<f32> = (0..19).map(|n| n as f32).collect();
        assert_eq!(dot(&a, &a), (0..19).map(|n| (n * n) as f32).sum::<f32>());
    }
}
