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

/// How two rankings become one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fusion {
    /// A passage scores `Σ 1 / (k + rank)` over the rankings that list it (Cormack, Clarke and Büttcher, 2009).
    Ranks(u32),
    /// A passage scores so much of its BM25 over the best one's, and the rest of its cosine between the least and the best
    /// that are listed (a convex combination, as in Bruch, Gai and Ingber, 2023).
    Scores(f64),
}

impl Corpus {
    /// The best `top_k` passages: their numbers and scores, best first, ties by number.
    ///
    /// With both rankings a passage scores as `fusion` says, with one ranking its BM25 score or cosine.
    pub(super) fn search(
        &self,
        query: &str,
        vector: Option<&[f32]>,
        fusion: Fusion,
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
            (Some(words), Some(meaning)) => match fusion {
                Fusion::Ranks(k) => by_ranks(&[words, meaning], k),
                Fusion::Scores(weight) => by_scores(&words, &meaning, weight),
            },
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
fn by_ranks(rankings: &[Vec<(usize, f32)>], rrf_k: u32) -> Vec<(usize, f64)> {
    let mut scores: BTreeMap<usize, f64> = BTreeMap::new();
    for ranking in rankings {
        for (rank, (number, _)) in (1u32..).zip(ranking) {
            *scores.entry(*number).or_default() += 1.0 / (f64::from(rrf_k) + f64::from(rank));
        }
    }
    sorted(scores)
}

/// The sum of what both rankings, best first, say from 0 to 1, with a weight for the words.
fn by_scores(words: &[(usize, f32)], meaning: &[(usize, f32)], weight: f64) -> Vec<(usize, f64)> {
    let mut scores: BTreeMap<usize, f64> = BTreeMap::new();
    let least = meaning.last().map_or(0.0, |hit| f64::from(hit.1));
    for (ranking, least, weight) in [(words, 0.0, weight), (meaning, least, 1.0 - weight)] {
        let range = ranking.first().map_or(0.0, |hit| f64::from(hit.1)) - least;
        for (number, score) in ranking {
            // Where all are alike, all are the best.
            let share = if range > 0.0 { (f64::from(*score) - least) / range } else { 1.0 };
            *scores.entry(*number).or_default() += weight * share;
        }
    }
    sorted(scores)
}

fn sorted(scores: BTreeMap<usize, f64>) -> Vec<(usize, f64)> {
    let mut fused: Vec<_> = scores.into_iter().collect();
    fused.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    fused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fusion_sums_reciprocal_ranks_and_breaks_ties_by_number() {
        let fused = by_ranks(&[vec![(7, 3.0), (2, 2.0)], vec![(2, 0.9), (7, 0.8), (5, 0.1)]], 60);
        let tie = 1.0 / 61.0 + 1.0 / 62.0;
        assert_eq!(fused, [(2, tie), (7, tie), (5, 1.0 / 63.0)]);
    }

    #[test]
    fn scores_are_weighed_on_one_scale() {
        // Words: 4 of 4 and 1 of 4; cosines from 0.2 to 0.8, of which 0.5 is half.
        let fused = by_scores(&[(7, 4.0), (2, 1.0)], &[(2, 0.8), (9, 0.5), (7, 0.2)], 0.75);
        let wanted = [(7, 0.75), (2, 0.75 * 0.25 + 0.25), (9, 0.125)];
        assert!(fused.iter().zip(wanted).all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() < 1e-6), "{fused:?}");
        assert_eq!(by_scores(&[], &[(3, 0.5)], 0.75), [(3, 0.25)]);
    }

    #[test]
    fn the_nearest_come_first() {
        let vectors = vec![1.0, 0.0, 0.0, 1.0, 0.6, 0.8, 1.0, 0.0];
        let corpus = Corpus { passages: Vec::new(), vectors, dimensions: 2, lexical: None };
        let order = |most| corpus.search("", Some(&[1.0, 0.0]), Fusion::Ranks(60), most).unwrap();
        assert_eq!(order(9).iter().map(|hit| hit.0).collect::<Vec<_>>(), [0, 3, 2, 1]);
        assert_eq!(order(2).iter().map(|hit| hit.0).collect::<Vec<_>>(), [0, 3]);
        assert!(corpus.search("", Some(&[1.0]), Fusion::Ranks(60), 1).is_err());
    }

    #[test]
    fn the_product_covers_every_entry() {
        let a: Vec<f32> = (0..19).map(|n| n as f32).collect();
        assert_eq!(dot(&a, &a), (0..19).map(|n| (n * n) as f32).sum::<f32>());
    }
}
