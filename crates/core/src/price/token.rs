//! Prices per token, and the cost of an attempt.

use serde::Serialize;

use crate::money::Usd;
use crate::usage::Usage;

/// Tokens to which a rate refers.
const PER_TOKENS: u64 = 1_000_000;

/// Highest rate that is taken for a price, in dollars per million tokens; keeps every product far from overflow.
const HIGHEST_RATE: Usd = Usd::from_nanos(1_000_000 * 1_000_000_000);

/// Dollars per million tokens of each class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Rates {
    /// Input that is neither read from nor written to a prompt cache.
    pub input: Usd,
    /// Input read from a prompt cache; `None`: it costs what other input costs.
    pub cached_input: Option<Usd>,
    /// Input written to a prompt cache, for five minutes where the provider has several lifetimes; `None`: it costs what
    /// other input costs.
    pub cache_write: Option<Usd>,
    /// Input written to a prompt cache for an hour; `None`: not sold, unless writing has no price of its own at all.
    pub cache_write_1h: Option<Usd>,
    /// Generated tokens, reasoning included; `None`: not sold, as of an embedding model.
    pub output: Option<Usd>,
}

/// Other rates for requests with much input. They apply to every token of the request, not only to those above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Tier {
    /// Applies when a request has more input tokens than this, cached ones included.
    pub above: u64,
    /// The rates of the whole request.
    pub rates: Rates,
}

/// Rates and the tiers that replace them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Schedule {
    /// Rates below the first tier.
    pub rates: Rates,
    /// Tiers, by rising `above`.
    pub tiers: Vec<Tier>,
}

/// What a request costs that is sent as part of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Batch {
    /// So many percent less for every class.
    Discount(u8),
    /// Rates of its own: not every provider lowers every class, and some round.
    Rates(Schedule),
}

/// What the tokens of a model cost.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct TokenPrice {
    /// Rates of a request sent by itself.
    #[serde(flatten)]
    pub standard: Schedule,
    /// Rates of a request in a batch; `None` when no such price is known.
    pub batch: Option<Batch>,
}

/// The cost of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Dollars, rounded half to even once.
    pub usd: Usd,
    /// Whether it is the cost. Otherwise the usage leaves open how some input was billed, and `usd` is the most that it
    /// can be.
    pub exact: bool,
}

/// Tokens that are billed at the same rate, among those that they may have.
struct Pool {
    tokens: u64,
    /// The rate if the usage says all, else the dearest that is possible.
    rate: Usd,
    /// Whether another rate is possible.
    is_open: bool,
}

impl TokenPrice {
    /// A price without tiers, and without a batch price.
    pub fn flat(rates: Rates) -> Self {
        Self { standard: Schedule { rates, tiers: Vec::new() }, batch: None }
    }

    /// What an attempt with this usage costs.
    ///
    /// By the definition of [`Usage`], `input_tokens` is all input: what was read from and written to a cache is
    /// subtracted from it and billed at its own rate. `output_tokens` has the reasoning in it, which is never added again.
    /// The tier follows from all input tokens.
    ///
    /// Where the usage doesn't say how much was read from or written to a cache although that has a price of its own, or
    /// how long it was to be kept, the tokens in question are billed at the dearest rate that they can have, and the cost
    /// is not `exact`. So is a batch at standard rates when its own are unknown.
    ///
    /// `None`: input or output is unknown; the usage contradicts itself (more tokens read and written than there were, more
    /// reasoning than output), so that nothing can be said about what was billed; or a class was used that this price does
    /// not sell.
    pub fn cost(&self, usage: &Usage, batch: bool) -> Option<Cost> {
        let (schedule, percent, known) = match (batch, &self.batch) {
            (false, _) => (&self.standard, 100, true),
            (true, Some(Batch::Discount(discount))) => {
                (&self.standard, 100u64.checked_sub(u64::from(*discount))?, true)
            }
            (true, Some(Batch::Rates(schedule))) => (schedule, 100, true),
            (true, None) => (&self.standard, 100, false),
        };
        let rates = schedule.at(usage.input_tokens?);
        let pools = rates.pools(usage)?;
        let nanos = pools
            .iter()
            .try_fold(0i128, |sum, pool| sum.checked_add(pool.rate.nanos().checked_mul(i128::from(pool.tokens))?))?;
        let usd = Usd::from_nanos(nanos).scaled(percent, 100 * PER_TOKENS)?;
        Some(Cost { usd, exact: known && pools.iter().all(|pool| !pool.is_open || pool.tokens == 0) })
    }

    /// The most that an attempt can cost, in a batch or not, with at most `input_tokens` of input and at most `max_output`
    /// generated tokens: all input in its dearest class, whichever tier it ends in.
    ///
    /// Writing to a cache is the dearest class where it is sold, also when the request doesn't ask for it. `None` when
    /// output is wanted that this price does not sell, or the amount leaves the range of money.
    pub fn worst_cost(&self, input_tokens: u64, max_output: u64) -> Option<Usd> {
        let batch = match &self.batch {
            Some(Batch::Rates(schedule)) => Some(schedule),
            _ => None,
        };
        let mut worst = Usd::ZERO;
        for schedule in [&self.standard].into_iter().chain(batch) {
            for rates in schedule.reachable(input_tokens) {
                let output = if max_output == 0 { Usd::ZERO } else { rates.output? };
                let input = rates.dearest_input().nanos().checked_mul(i128::from(input_tokens))?;
                let nanos = output.nanos().checked_mul(i128::from(max_output))?.checked_add(input)?;
                worst = worst.max(Usd::from_nanos(nanos).scaled(1, PER_TOKENS)?);
            }
        }
        Some(worst)
    }

    /// What is wrong with this price; empty when nothing is.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.standard.problems("");
        match &self.batch {
            Some(Batch::Discount(percent)) if *percent == 0 || *percent > 100 => {
                problems.push(format!("a batch discount is between 1 and 100 percent, not {percent}"));
            }
            Some(Batch::Rates(schedule)) => problems.extend(schedule.problems("batch: ")),
            _ => {}
        }
        problems
    }
}

impl Schedule {
    /// The rates of a request with so many input tokens.
    pub fn at(&self, input_tokens: u64) -> &Rates {
        let tier = self.tiers.iter().rev().find(|tier| input_tokens > tier.above);
        tier.map_or(&self.rates, |tier| &tier.rates)
    }

    /// The rates of every request with at most so many input tokens.
    fn reachable(&self, input_tokens: u64) -> impl Iterator<Item = &Rates> {
        let tiers = self.tiers.iter().filter(move |tier| input_tokens > tier.above);
        std::iter::once(&self.rates).chain(tiers.map(|tier| &tier.rates))
    }

    fn problems(&self, of: &str) -> Vec<String> {
        let mut problems = self.rates.problems(of);
        let mut below = 0;
        for tier in &self.tiers {
            if tier.above <= below {
                problems.push(format!("{of}tiers start above a rising number of tokens, the first above at least 1"));
            }
            below = tier.above;
            problems.extend(tier.rates.problems(&format!("{of}above {} tokens: ", tier.above)));
            if tier.rates.output.is_some() != self.rates.output.is_some() {
                problems.push(format!("{of}output has a price in every tier or in none"));
            }
        }
        problems
    }
}

impl Rates {
    /// The dearest that a token of input can be.
    fn dearest_input(&self) -> Usd {
        let classes = [self.cached_input, self.cache_write, self.cache_write_1h];
        classes.into_iter().flatten().fold(self.input, Usd::max)
    }

    /// The tokens of a usage with their rates; `None` when it is unknown or contradicts itself, or needs what isn't sold.
    fn pools(&self, usage: &Usage) -> Option<[Pool; 5]> {
        let output = match (usage.output_tokens, self.output) {
            (Some(output), _) => output,
            // An embedding has no output, and its server doesn't mention any.
            (None, None) => 0,
            (None, Some(_)) => return None,
        };
        if usage.reasoning_tokens.is_some_and(|reasoning| reasoning > output) {
            return None;
        }
        let read = usage.cached_input_tokens.unwrap_or(0);
        let hour = usage.cache_write_1h_tokens.unwrap_or(0);
        let written = usage.cache_write_tokens.unwrap_or(hour);
        let rest = usage.input_tokens?.checked_sub(read)?.checked_sub(written)?;

        let is_read_open = usage.cached_input_tokens.is_none();
        let is_write_open = usage.cache_write_tokens.is_none();
        let is_hour_open = usage.cache_write_1h_tokens.is_none();
        let read_rate = self.cached_input.unwrap_or(self.input);
        let write_rate = self.cache_write.unwrap_or(self.input);
        // Without a rate for an hour, writing for an hour is no possibility where writing has a rate at all.
        let hour_rate = self.cache_write_1h.or(self.cache_write.is_none().then_some(self.input));
        let open_hour = hour_rate.filter(|_| is_hour_open);
        let in_rest = [
            is_read_open.then_some(read_rate),
            is_write_open.then_some(write_rate),
            open_hour.filter(|_| is_write_open),
        ];
        Some([
            Pool::new(rest, self.input, &in_rest),
            Pool::new(read, read_rate, &[]),
            Pool::new(written.checked_sub(hour)?, write_rate, &[open_hour]),
            Pool::new(hour, if hour == 0 { Usd::ZERO } else { hour_rate? }, &[]),
            Pool::new(output, if output == 0 { Usd::ZERO } else { self.output? }, &[]),
        ])
    }

    fn problems(&self, of: &str) -> Vec<String> {
        let classes = [
            ("input", Some(self.input)),
            ("cached_input", self.cached_input),
            ("cache_write", self.cache_write),
            ("cache_write_1h", self.cache_write_1h),
            ("output", self.output),
        ];
        let mut problems = Vec::new();
        for (name, rate) in classes {
            if rate.is_some_and(|rate| rate < Usd::ZERO || rate > HIGHEST_RATE) {
                problems.push(format!("{of}{name} is between 0 and {HIGHEST_RATE} dollars per million tokens"));
            }
        }
        if self.cache_write_1h.is_some() && self.cache_write.is_none() {
            problems.push(format!("{of}cache_write_1h needs cache_write beside it"));
        }
        problems
    }
}

impl Pool {
    fn new(tokens: u64, rate: Usd, others: &[Option<Usd>]) -> Self {
        let others = others.iter().flatten();
        let is_open = others.clone().any(|other| *other != rate);
        Self { tokens, rate: others.fold(rate, |dearest, other| dearest.max(*other)), is_open }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn usd(text: &str) -> Usd {
        text.parse().unwrap()
    }

    fn rates(input: &str, cached: &str, write: &str, write_1h: &str, output: &str) -> Rates {
        let some = |text: &str| (!text.is_empty()).then(|| usd(text));
        Rates {
            input: usd(input),
            cached_input: some(cached),
            cache_write: some(write),
            cache_write_1h: some(write_1h),
            output: some(output),
        }
    }

    fn sonnet() -> TokenPrice {
        TokenPrice::flat(rates("3", "0.3", "3.75", "6", "15"))
    }

    fn usage(input: u64, cached: u64, write: u64, write_1h: u64, output: u64) -> Usage {
        Usage {
            input_tokens: Some(input),
            cached_input_tokens: Some(cached),
            cache_write_tokens: Some(write),
            cache_write_1h_tokens: Some(write_1h),
            output_tokens: Some(output),
            reasoning_tokens: Some(0),
            prescribed_tokens: None,
        }
    }

    fn cost(price: &TokenPrice, usage: &Usage) -> (String, bool) {
        let cost = price.cost(usage, false).unwrap();
        (cost.usd.to_string(), cost.exact)
    }

    /// Claude 3.7 Sonnet, dollars per million tokens: input 3, cache read 0.30, write for 5 minutes 3.75, write for an
    /// hour 6, output 15.
    ///
    ///   uncached   1,234 × 3.00 =   3,702
    ///   read      50,000 × 0.30 =  15,000
    ///   write 5m   2,000 × 3.75 =   7,500
    ///   write 1h   1,000 × 6.00 =   6,000
    ///   output       789 × 15   =  11,835
    ///                              44,037 millionths of a dollar = $0.044037
    ///
    /// The total of input is 1,234 + 50,000 + 2,000 + 1,000 = 54,234; the writes of the report are 2,000 + 1,000.
    #[test]
    fn a_cached_exchange_with_anthropic_to_the_nano_dollar() {
        let used = usage(54_234, 50_000, 3_000, 1_000, 789);
        assert_eq!(cost(&sonnet(), &used), ("0.044037".to_owned(), true));
        assert_eq!(sonnet().cost(&used, false).unwrap().usd.nanos(), 44_037_000);
        // Billing cache reads and writes on top of all input, as a client does that takes `input_tokens` for the uncached
        // part, would charge 54,234 × 3 + 28,500 + 11,835 = 203,037 millionths: 4.6 times as much.
    }

    /// GPT-4o mini: input 0.15, cached 0.075, output 0.60. 3,000 tokens of input, of which 1,024 were cached:
    ///
    ///   uncached   1,976 × 0.15  =   296.4
    ///   cached     1,024 × 0.075 =    76.8
    ///   output       500 × 0.60  =   300
    ///                                673.2 millionths of a dollar = $0.0006732 = 673,200 nano-dollars
    #[test]
    fn a_cached_exchange_with_openai_to_the_nano_dollar() {
        let mini = TokenPrice::flat(rates("0.15", "0.075", "", "", "0.6"));
        let used = Usage { cache_write_tokens: None, cache_write_1h_tokens: None, ..usage(3_000, 1_024, 0, 0, 500) };
        assert_eq!(cost(&mini, &used), ("0.0006732".to_owned(), true));
    }

    #[test]
    fn reasoning_is_output_and_is_not_added_again() {
        let o4_mini = TokenPrice::flat(rates("1.1", "0.275", "", "", "4.4"));
        // 1,000 × 1.1 + 2,000 × 4.4 = 9,900 millionths, whether 0 or 1,900 of the 2,000 were reasoning.
        for reasoning in [None, Some(0), Some(1_900)] {
            let used = Usage { reasoning_tokens: reasoning, ..usage(1_000, 0, 0, 0, 2_000) };
            assert_eq!(cost(&o4_mini, &used), ("0.0099".to_owned(), true));
        }
    }

    #[test]
    fn above_a_tier_every_token_has_the_other_price() {
        // Gemini 2.5 Pro: up to 200,000 tokens of input 1.25, cached 0.125, output 10; above 2.50, 0.25 and 15.
        let price = TokenPrice {
            standard: Schedule {
                rates: rates("1.25", "0.125", "", "", "10"),
                tiers: vec![Tier { above: 200_000, rates: rates("2.5", "0.25", "", "", "15") }],
            },
            batch: None,
        };
        // 100,000 × 1.25 + 100,000 × 0.125 + 1,000 × 10 = 147,500.
        assert_eq!(cost(&price, &usage(200_000, 100_000, 0, 0, 1_000)).0, "0.1475");
        // 100,001 × 2.50 + 100,000 × 0.25 + 1,000 × 15 = 290,002.5.
        assert_eq!(cost(&price, &usage(200_001, 100_000, 0, 0, 1_000)).0, "0.2900025");
        // At the tier's edge a request more than doubles: the worst of 200,001 is in the tier, that of 200,000 is not.
        assert_eq!(price.worst_cost(200_000, 0), Some(usd("0.25")));
        assert_eq!(price.worst_cost(200_001, 0), Some(usd("0.5000025")));
    }

    #[test]
    fn the_sum_is_rounded_once_and_half_to_even() {
        // At 0.0005 dollars per million a token is half a nano-dollar.
        let price = TokenPrice::flat(rates("0.0005", "", "", "", "0.0005"));
        let nanos = |input, output| price.cost(&usage(input, 0, 0, 0, output), false).unwrap().usd.nanos();
        assert_eq!((nanos(1, 0), nanos(3, 0), nanos(5, 0)), (0, 2, 2));
        // Rounded class by class these would be 0 + 0 and 2 + 0.
        assert_eq!((nanos(1, 1), nanos(3, 2)), (1, 2));
    }

    #[test]
    fn a_batch_costs_less_by_a_percentage_or_by_rates_of_its_own() {
        let used = usage(1_000, 500, 0, 0, 100);
        // 500 × 3 + 500 × 0.3 + 100 × 15 = 3,150; half of it is 1,575.
        let half = TokenPrice { batch: Some(Batch::Discount(50)), ..sonnet() };
        assert_eq!(half.cost(&used, true), Some(Cost { usd: usd("0.001575"), exact: true }));
        // Where cached input keeps its price: 500 × 1.5 + 500 × 0.3 + 100 × 7.5 = 1,650.
        let own = Schedule { rates: rates("1.5", "0.3", "", "", "7.5"), tiers: Vec::new() };
        let own = TokenPrice { batch: Some(Batch::Rates(own)), ..sonnet() };
        assert_eq!(own.cost(&used, true), Some(Cost { usd: usd("0.00165"), exact: true }));
        // Unknown: at most the standard price.
        assert_eq!(sonnet().cost(&used, true), Some(Cost { usd: usd("0.00315"), exact: false }));
    }

    #[test]
    fn what_the_usage_leaves_open_is_billed_at_its_dearest_and_said() {
        let all = usage(10_000, 4_000, 2_000, 500, 100);
        // 4,000 × 3 + 4,000 × 0.3 + 1,500 × 3.75 + 500 × 6 + 100 × 15 = 23,325.
        assert_eq!(cost(&sonnet(), &all), ("0.023325".to_owned(), true));
        // How long is unknown: 2,000 × 6 instead of 1,500 × 3.75 + 500 × 6.
        let used = Usage { cache_write_1h_tokens: None, ..all };
        assert_eq!(cost(&sonnet(), &used), ("0.0267".to_owned(), false));
        // No write is known: the 6,000 that weren't read are 6 each.
        let used = Usage { cache_write_tokens: None, cache_write_1h_tokens: None, ..all };
        assert_eq!(cost(&sonnet(), &used), ("0.0387".to_owned(), false));
        // Whether something was read is unknown: it was not.
        let mini = TokenPrice::flat(rates("0.15", "0.075", "", "", "0.6"));
        let used = Usage { cached_input_tokens: None, ..usage(3_000, 0, 0, 0, 500) };
        assert_eq!(cost(&mini, &used), ("0.00075".to_owned(), false));
        // It doesn't matter to a price that doesn't tell them apart.
        let flat = TokenPrice::flat(rates("0.15", "", "", "", "0.6"));
        assert_eq!(cost(&flat, &used), ("0.00075".to_owned(), true));
    }

    #[test]
    fn what_is_unknown_or_contradicts_itself_has_no_cost() {
        let known = usage(100, 50, 40, 0, 10);
        let without = [
            Usage { input_tokens: None, ..known },
            Usage { output_tokens: None, ..known },
            Usage { cached_input_tokens: Some(61), ..known },
            Usage { cache_write_1h_tokens: Some(41), ..known },
            Usage { reasoning_tokens: Some(11), ..known },
        ];
        for used in without {
            assert_eq!(sonnet().cost(&used, false), None, "{used:?}");
        }
        // A cache of five minutes has a price, one of an hour is not sold.
        let short = TokenPrice::flat(rates("3", "0.3", "3.75", "", "15"));
        assert!(short.cost(&known, false).is_some());
        assert_eq!(short.cost(&Usage { cache_write_1h_tokens: Some(1), ..known }, false), None);
        let embedder = TokenPrice::flat(rates("0.02", "", "", "", ""));
        assert_eq!(embedder.cost(&known, false), None);
        assert_eq!(embedder.worst_cost(100, 10), None);
        let embedding = Usage { input_tokens: Some(1_000_000), ..Usage::default() };
        assert_eq!(embedder.cost(&embedding, false), Some(Cost { usd: usd("0.02"), exact: true }));
        assert_eq!(embedder.worst_cost(1_000_000, 0), Some(usd("0.02")));
    }

    #[test]
    fn every_fault_of_a_price_is_told() {
        let tier = |above, output: &str| Tier { above, rates: rates("1", "", "", "", output) };
        let price = TokenPrice {
            standard: Schedule { rates: rates("-1", "", "", "2", "1000001"), tiers: vec![tier(0, "1"), tier(0, "")] },
            batch: Some(Batch::Discount(101)),
        };
        insta::assert_snapshot!(price.problems().join("\n"), @r"
        input is between 0 and 1000000 dollars per million tokens
        output is between 0 and 1000000 dollars per million tokens
        cache_write_1h needs cache_write beside it
        tiers start above a rising number of tokens, the first above at least 1
        tiers start above a rising number of tokens, the first above at least 1
        output has a price in every tier or in none
        a batch discount is between 1 and 100 percent, not 101
        ");
    }

    fn any_rate() -> impl Strategy<Value = Usd> {
        (0i128..200_000_000_000).prop_map(Usd::from_nanos)
    }

    prop_compose! {
        fn any_rates()(
            input in any_rate(),
            cached_input in proptest::option::of(any_rate()),
            write in proptest::option::of((any_rate(), proptest::option::of(any_rate()))),
            output in any_rate(),
        ) -> Rates {
            let cache_write_1h = write.and_then(|(_, hour)| hour);
            Rates { input, cached_input, cache_write: write.map(|(short, _)| short), cache_write_1h, output: Some(output) }
        }
    }

    prop_compose! {
        fn any_schedule()(rates in any_rates(), tiers in proptest::collection::btree_map(1u64..2_000_000, any_rates(), 0..3)) -> Schedule {
            Schedule { rates, tiers: tiers.into_iter().map(|(above, rates)| Tier { above, rates }).collect() }
        }
    }

    fn any_batch() -> impl Strategy<Value = Option<Batch>> {
        proptest::option::of(prop_oneof![(1u8..=100).prop_map(Batch::Discount), any_schedule().prop_map(Batch::Rates)])
    }

    prop_compose! {
        fn any_usage()(
            input in 0u64..1_000_000, cached in proptest::option::of(0u64..400_000), write in proptest::option::of(0u64..400_000),
            write_1h in proptest::option::of(0u64..200_000), output in 0u64..200_000, reasoning in proptest::option::of(0u64..200_000),
        ) -> Usage {
            Usage {
                input_tokens: Some(input),
                cached_input_tokens: cached,
                cache_write_tokens: write,
                cache_write_1h_tokens: write_1h,
                output_tokens: Some(output),
                reasoning_tokens: reasoning,
                prescribed_tokens: None,
            }
        }
    }

    proptest! {
        #[test]
        fn no_cost_is_above_the_worst(
            standard in any_schedule(), batch in any_batch(), used in any_usage(), in_batch: bool, more in 0u64..1000,
        ) {
            let price = TokenPrice { standard, batch };
            prop_assert!(price.problems().is_empty());
            if let Some(cost) = price.cost(&used, in_batch) {
                let worst = price.worst_cost(used.input_tokens.unwrap() + more, used.output_tokens.unwrap() + more);
                prop_assert!(Some(cost.usd) <= worst, "{:?} > {:?}", cost.usd, worst);
            }
        }

        #[test]
        fn what_is_left_open_never_costs_more_than_was_said(
            rates in any_rates(), input in 0u64..1_000_000, read in 0u64..400_000, write in 0u64..400_000, hour in 0u64..400_000,
            hides in proptest::array::uniform3(any::<bool>()),
        ) {
            let price = TokenPrice::flat(rates);
            let truth = usage(input, read, write, hour, 10);
            let reported = Usage {
                cached_input_tokens: truth.cached_input_tokens.filter(|_| !hides[0]),
                cache_write_tokens: truth.cache_write_tokens.filter(|_| !hides[1]),
                cache_write_1h_tokens: truth.cache_write_1h_tokens.filter(|_| !hides[2]),
                ..truth
            };
            if let (Some(truth), Some(said)) = (price.cost(&truth, false), price.cost(&reported, false)) {
                prop_assert!(truth.usd <= said.usd, "{:?} > {:?}", truth, said);
                prop_assert!(!said.exact || said.usd == truth.usd);
            }
        }
    }
}
