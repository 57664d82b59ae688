//! From measurements to coefficients: least squares of relative errors, none of them negative, over means of equal requests.

use std::collections::BTreeMap;

use lumos_sim::profile::Calibrated;

use super::probe::Sample;
use super::probe::burst::Decode;

/// How well the coefficients fit what they were fitted to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fitted {
    /// Median relative error of iterations, in percent.
    pub iteration_error_percent: f64,
    /// Median relative error of the time to first token, in percent.
    pub ttft_error_percent: f64,
}

/// Fills in the times of `profile`, of single requests, of iterations without prompts, and of what requests cost nobody but
/// themselves, where it is known; `None` when the measurements do not tell a token's time.
pub(super) fn fit(profile: &mut Calibrated, alone: &[Sample], decodes: &[Decode], outside: &[f64]) -> Option<Fitted> {
    let decodes = grouped(
        decodes.iter().map(|decode| ((decode.sequences as u64, decode.kv_tokens as u64 / 32), decode)),
        |group| {
            let of = |field: fn(&Decode) -> f64| usual(group.iter().map(|decode| field(decode)).collect());
            Decode {
                sequences: group[0].sequences,
                kv_tokens: of(|decode| decode.kv_tokens),
                iteration_us: of(|decode| decode.iteration_us),
            }
        },
    );
    if decodes.is_empty() {
        return None;
    }
    let firsts = grouped(alone.iter().map(|sample| (u64::from(sample.input) / 16, sample)), |group| {
        let tokens = usual(group.iter().map(|sample| f64::from(sample.input)).collect());
        (tokens, usual(group.iter().map(|sample| sample.ttft_us()).collect()))
    });
    let rows: Vec<Vec<f64>> = firsts.iter().map(|(tokens, _)| vec![1.0, *tokens, pairs(*tokens)]).collect();
    let times: Vec<f64> = firsts.iter().map(|(_, us)| *us).collect();
    let first = nonnegative(&rows, &times);

    let batches = decodes.iter().any(|decode| decode.sequences > 1.0);
    if batches {
        let (own, kv_token_us) = by_sequences(&decodes);
        let without = |decode: &Decode| (decode.iteration_us - kv_token_us * decode.kv_tokens).max(1.0);
        let rows: Vec<Vec<f64>> = decodes.iter().map(|decode| vec![1.0, decode.sequences]).collect();
        let line = nonnegative(&rows, &decodes.iter().map(without).collect::<Vec<_>>());
        (profile.iteration_us, profile.sequence_us, profile.kv_token_ns) = (line[0], line[1], kv_token_us * 1e3);
        profile.decode_us = own;
    } else {
        // Of one sequence at a time nobody can tell what is the iteration's and what is its own. A prompt pays for the
        // iteration alone, so as much of it as a prompt pays at most is the iteration's.
        let rows: Vec<Vec<f64>> = decodes.iter().map(|decode| vec![1.0, decode.kv_tokens]).collect();
        let found = nonnegative(&rows, &decodes.iter().map(|decode| decode.iteration_us).collect::<Vec<_>>());
        profile.iteration_us = found[0].min(first[0]);
        (profile.sequence_us, profile.kv_token_ns) = (found[0] - profile.iteration_us, found[1] * 1e3);
    }
    if first[0] >= profile.iteration_us {
        // What a prompt takes whatever its length: others wait for one part of it.
        let rest = first[0] - profile.iteration_us;
        let outside = (!outside.is_empty()).then(|| median(outside.to_vec()) - profile.iteration_us);
        profile.request_us = outside.map_or(rest, |outside| outside.clamp(0.0, rest));
        profile.prompt_us = rest - profile.request_us;
        (profile.prompt_token_us, profile.prompt_pair_ns) = (first[1], first[2] * 1e3);
    } else {
        // A prompt takes an iteration at least; what is beyond that is its tokens'.
        let rows: Vec<Vec<f64>> = firsts.iter().map(|(tokens, _)| vec![*tokens, pairs(*tokens)]).collect();
        let rest: Vec<f64> = times.iter().map(|us| (us - profile.iteration_us).max(1.0)).collect();
        let found = nonnegative(&rows, &rest);
        (profile.prompt_token_us, profile.prompt_pair_ns) = (found[0], found[1] * 1e3);
    }
    round(profile);

    let off = |found: f64, measured: f64| (found / measured - 1.0).abs() * 100.0;
    let iteration = |decode: &Decode| profile.decode_iteration_us(decode.sequences as u32, decode.kv_tokens);
    let ttft = |tokens: f64| {
        profile.request_us
            + profile.iteration_us
            + profile.prompt_us
            + profile.prompt_token_us * tokens
            + profile.prompt_pair_ns / 1e3 * pairs(tokens)
    };
    Some(Fitted {
        iteration_error_percent: median(
            decodes.iter().map(|decode| off(iteration(decode), decode.iteration_us)).collect(),
        ),
        ttft_error_percent: median(firsts.iter().map(|(tokens, us)| off(ttft(*tokens), *us)).collect()),
    })
}

/// A time of its own for each number of sequences, and one price, which is not negative, of each token that they hold: least
/// squares of relative errors. Microseconds.
fn by_sequences(decodes: &[Decode]) -> (Vec<(u32, f64)>, f64) {
    let groups = grouped(decodes.iter().map(|decode| (decode.sequences as u32, decode)), <[&Decode]>::to_vec);
    let weight = |decode: &Decode| decode.iteration_us.max(1.0).powi(-2);
    // Of each group the sequences, and the means of what they hold and of the times.
    let mut means = Vec::new();
    let (mut together, mut spread) = (0.0, 0.0);
    for group in &groups {
        let all: f64 = group.iter().map(|decode| weight(decode)).sum();
        let kv_tokens = group.iter().map(|decode| weight(decode) * decode.kv_tokens).sum::<f64>() / all;
        let iteration_us = group.iter().map(|decode| weight(decode) * decode.iteration_us).sum::<f64>() / all;
        for decode in group {
            let off = decode.kv_tokens - kv_tokens;
            together += weight(decode) * off * (decode.iteration_us - iteration_us);
            spread += weight(decode) * off * off;
        }
        means.push((group[0].sequences as u32, kv_tokens, iteration_us));
    }
    // What is held takes no longer than the whole.
    let most = means.iter().map(|(_, kv_tokens, us)| us / kv_tokens.max(1.0)).fold(f64::INFINITY, f64::min);
    let price = if spread > 0.0 { (together / spread).clamp(0.0, most) } else { 0.0 };
    (means.iter().map(|(sequences, kv_tokens, us)| (*sequences, (us - price * kv_tokens).max(0.0))).collect(), price)
}

fn round(profile: &mut Calibrated) {
    let times = [
        &mut profile.iteration_us,
        &mut profile.sequence_us,
        &mut profile.prompt_us,
        &mut profile.prompt_token_us,
        &mut profile.prompt_pair_ns,
        &mut profile.kv_token_ns,
        &mut profile.request_us,
    ];
    for time in times.into_iter().chain(profile.decode_us.iter_mut().map(|(_, us)| us)) {
        *time = four_digits(*time);
    }
}

/// Four digits are more than any measurement of a time tells.
pub(super) fn four_digits(time: f64) -> f64 {
    if time <= 0.0 {
        return time;
    }
    let scale = 10f64.powi(3 - time.log10().floor() as i32);
    (time * scale).round() / scale
}

/// Query-key pairs of a prompt.
fn pairs(tokens: f64) -> f64 {
    tokens * (tokens + 1.0) / 2.0
}

/// What `of` makes of each group of equal keys.
fn grouped<'a, K: Ord, T: 'a, R>(keyed: impl Iterator<Item = (K, &'a T)>, of: impl Fn(&[&'a T]) -> R) -> Vec<R> {
    let mut groups: BTreeMap<K, Vec<&T>> = BTreeMap::new();
    for (key, entry) in keyed {
        groups.entry(key).or_default().push(entry);
    }
    groups.values().map(|group| of(group)).collect()
}

/// The mean, to which a value beyond twice the median adds that much: a load takes as long as its requests do on average, of which
/// the median knows nothing on a machine that is slow at times; and one hiccup must not pass for the machine.
fn usual(values: Vec<f64>) -> f64 {
    let count = values.len().max(1) as f64;
    let most = 2.0 * median(values.clone());
    values.iter().map(|value| value.min(most)).sum::<f64>() / count
}

/// The middle value, or the mean of the two in the middle; 0 of nothing.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

/// The coefficients, none negative, of `rows · coefficients` against `times`: those with the smallest squared relative errors
/// per degree of freedom, so that a coefficient more must explain more than noise does, and as many coefficients as rows
/// never count as a perfect fit. All sets of coefficients are tried: there are three at most.
fn nonnegative(rows: &[Vec<f64>], times: &[f64]) -> Vec<f64> {
    let columns = rows.first().map_or(0, Vec::len);
    let mut best = (f64::INFINITY, vec![0.0; columns]);
    for set in 1u32..1 << columns {
        let used: Vec<usize> = (0..columns).filter(|column| set >> column & 1 == 1).collect();
        // Where there is but one row, one coefficient is all that can be had.
        let freedom = rows.len().saturating_sub(used.len());
        if freedom == 0 && used.len() > 1 {
            continue;
        }
        let Some(found) = least_squares(rows, times, &used) else { continue };
        if found.iter().any(|coefficient| *coefficient < 0.0) {
            continue;
        }
        let mut all = vec![0.0; columns];
        for (column, coefficient) in used.iter().zip(found) {
            all[*column] = coefficient;
        }
        let error: f64 = rows
            .iter()
            .zip(times)
            .map(|(row, time)| {
                let sum: f64 = row.iter().zip(&all).map(|(entry, coefficient)| entry * coefficient).sum();
                (sum / time - 1.0).powi(2)
            })
            .sum();
        let error = error / freedom.max(1) as f64;
        if error < best.0 * (1.0 - 1e-9) {
            best = (error, all);
        }
    }
    best.1
}

/// Solves the normal equations of some columns by elimination; `None` when they are not independent.
fn least_squares(rows: &[Vec<f64>], times: &[f64], used: &[usize]) -> Option<Vec<f64>> {
    let count = used.len();
    // Columns are scaled to 1 at most, so that tokens and pairs of tokens can be compared with 1.
    let scale: Vec<f64> =
        used.iter().map(|column| rows.iter().map(|row| row[*column]).fold(f64::MIN_POSITIVE, f64::max)).collect();
    let mut matrix = vec![vec![0.0; count + 1]; count];
    for (row, time) in rows.iter().zip(times) {
        let scaled: Vec<f64> = used.iter().zip(&scale).map(|(column, scale)| row[*column] / scale / time).collect();
        for (left, line) in scaled.iter().zip(&mut matrix) {
            for (right, entry) in scaled.iter().zip(line.iter_mut()) {
                *entry += left * right;
            }
            line[count] += left;
        }
    }
    let size = matrix.iter().enumerate().map(|(at, line)| line[at].abs()).fold(0.0, f64::max);
    for at in 0..count {
        let pivot = (at..count).max_by(|a, b| matrix[*a][at].abs().total_cmp(&matrix[*b][at].abs()))?;
        matrix.swap(at, pivot);
        if matrix[at][at].abs() <= size * 1e-10 {
            return None;
        }
        for line in at + 1..count {
            let factor = matrix[line][at] / matrix[at][at];
            let above = matrix[at].clone();
            for (entry, above) in matrix[line].iter_mut().zip(above) {
                *entry -= factor * above;
            }
        }
    }
    let mut found = vec![0.0; count];
    for at in (0..count).rev() {
        let known: f64 = (at + 1..count).map(|column| matrix[at][column] * found[column]).sum();
        found[at] = (matrix[at][count] - known) / matrix[at][at];
    }
    Some(found.iter().zip(scale).map(|(coefficient, scale)| coefficient / scale).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_times_give_their_coefficients_back() {
        let rows: Vec<Vec<f64>> = [50.0, 200.0, 400.0, 900.0].iter().map(|p| vec![1.0, *p, pairs(*p)]).collect();
        let times: Vec<f64> = rows.iter().map(|row| 5000.0 + 800.0 * row[1] + 0.3 * row[2]).collect();
        let found = nonnegative(&rows, &times);
        for (found, wanted) in found.iter().zip([5000.0, 800.0, 0.3]) {
            assert!((found / wanted - 1.0).abs() < 1e-6, "{found} instead of {wanted}");
        }
    }

    #[test]
    fn each_number_of_sequences_has_its_time_and_tokens_have_one() {
        let decode = |sequences: u32, own_us: f64, kv_tokens: f64| Decode {
            sequences: f64::from(sequences),
            kv_tokens,
            iteration_us: own_us + 9.0 * kv_tokens,
        };
        let of = [(1, 7e3, 60.0), (1, 7e3, 800.0), (2, 18e3, 300.0), (4, 30e3, 500.0), (4, 30e3, 1600.0)];
        let (own, price) = by_sequences(&of.map(|(sequences, us, kv)| decode(sequences, us, kv)));
        assert!((price - 9.0).abs() < 1e-6, "{price}");
        for ((sequences, us), (wanted, wanted_us)) in own.iter().zip([(1, 7e3), (2, 18e3), (4, 30e3)]) {
            assert!(*sequences == wanted && (us / wanted_us - 1.0).abs() < 1e-9, "{own:?}");
        }
        // A cache that makes things faster is noise.
        let (own, price) = by_sequences(&[decode(1, 9e3, 100.0), decode(1, 1e3, 800.0)]);
        assert!(price == 0.0 && own.len() == 1, "{own:?}");
    }

    #[test]
    fn noise_is_not_explained_by_a_coefficient_more() {
        // 5 ms a token, each time 8 % off: three coefficients would go through all three points.
        let rows: Vec<Vec<f64>> = [60.0, 160.0, 350.0].iter().map(|p| vec![1.0, *p, pairs(*p)]).collect();
        let times: Vec<f64> = rows.iter().zip([1.08, 0.92, 1.08]).map(|(row, off)| 5000.0 * row[1] * off).collect();
        let found = nonnegative(&rows, &times);
        assert!(found[0] < 30_000.0 && (found[1] / 5000.0 - 1.0).abs() < 0.15, "{found:?}");
    }

    #[test]
    fn what_would_be_negative_is_zero() {
        let rows = vec![vec![1.0, 1.0], vec![1.0, 2.0], vec![1.0, 3.0]];
        let found = nonnegative(&rows, &[3.0, 2.0, 1.0]);
        assert!(found[0] > 0.0 && found[1] == 0.0, "{found:?}");
    }

    #[test]
    fn a_slow_machine_counts_and_a_hiccup_does_not() {
        assert_eq!(usual(vec![1.0, 1.0, 1.6]), 1.2);
        assert_eq!(usual(vec![1.0, 1.0, 100.0]), 4.0 / 3.0);
    }

    #[test]
    fn medians_ignore_what_lies_outside() {
        assert_eq!(median(vec![1.0, 2.0, 1000.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
