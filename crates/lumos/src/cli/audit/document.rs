//! What an audit has found, with what it was found of.

use std::collections::BTreeMap;

use lumos::core::spec::Label;
use lumos::decide::audit::{Destination, FileDigest, Finding, Sent, StaticAudit};
use serde::Serialize;

/// An audit.
#[derive(Debug, Serialize)]
pub struct Document {
    /// The version of lumos.
    pub lumos: &'static str,
    /// When it was made, in RFC 3339, UTC.
    pub date: String,
    /// `nothing_found` or `found`.
    pub verdict: &'static str,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What may leave; `null` when runs were audited.
    #[serde(rename = "static")]
    pub statics: Option<StaticAudit>,
    /// The workflow with the ways of labels to the outside, as an SVG image; `null` when runs were audited.
    pub drawing: Option<String>,
    /// Where runs have sent something outside, in all.
    pub sent: Vec<SentTo>,
    /// What each run has sent; `null` when none were looked at.
    pub runs: Option<Vec<Sent>>,
    /// What else somebody should know.
    pub notes: Vec<String>,
    /// The files that were read.
    pub files: Vec<FileDigest>,
    /// The catalogs that were read.
    pub catalogs: Vec<CatalogDigest>,
}

/// A catalog as it was.
#[derive(Debug, Serialize)]
pub struct CatalogDigest {
    /// What it is of.
    pub name: String,
    /// The newest day on which an entry of it was right.
    pub as_of: Option<String>,
    /// SHA-256 of its entries.
    pub sha256: String,
}

/// What runs have sent to one destination.
#[derive(Debug, Serialize)]
pub struct SentTo {
    /// The deployment of the runs.
    pub deployment: String,
    /// The destination.
    pub destination: Destination,
    /// Number of runs that sent something there.
    pub runs: u64,
    /// Number of requests.
    pub requests: u64,
    /// Bytes, as far as they were counted.
    pub bytes: u64,
    /// Whether all were counted.
    pub is_counted: bool,
    /// Answers from the response cache, for which nothing was sent.
    pub cached: u64,
    /// Labels that what was sent may carry.
    pub labels: Vec<Label>,
    /// Personal data in what was sent, by kind.
    pub found: BTreeMap<&'static str, u64>,
    /// The start of the first and of the last of the runs.
    pub between: (String, String),
}

impl SentTo {
    /// Nothing yet, by runs like this one.
    fn nothing(run: &Sent, destination: &Destination) -> Self {
        Self {
            deployment: run.deployment.clone(),
            destination: destination.clone(),
            runs: 0,
            requests: 0,
            bytes: 0,
            is_counted: true,
            cached: 0,
            labels: Vec::new(),
            found: BTreeMap::new(),
            between: (run.started_at.clone(), run.started_at.clone()),
        }
    }
}

impl Document {
    /// A document in which nothing has been found.
    pub fn new(date: String, files: Vec<FileDigest>, catalogs: Vec<CatalogDigest>) -> Self {
        Self {
            lumos: env!("CARGO_PKG_VERSION"),
            date,
            verdict: "nothing_found",
            findings: Vec::new(),
            statics: None,
            drawing: None,
            sent: Vec::new(),
            runs: None,
            notes: Vec::new(),
            files,
            catalogs,
        }
    }

    /// Adds what may leave.
    pub fn take_static(&mut self, audit: StaticAudit) {
        self.findings.splice(0..0, audit.findings.iter().cloned());
        self.notes.splice(0..0, audit.notes.iter().cloned());
        self.statics = Some(audit);
        self.judge();
    }

    /// Adds what runs have sent.
    pub fn take_runs(&mut self, runs: Vec<Sent>) {
        for run in &runs {
            self.findings.extend(run.findings.iter().cloned());
            self.notes.extend(run.notes.iter().cloned());
            for destination in &run.destinations {
                self.add(run, destination);
            }
        }
        self.runs = Some(runs);
        self.judge();
    }

    fn judge(&mut self) {
        self.verdict = if self.findings.is_empty() { "nothing_found" } else { "found" };
    }

    fn add(&mut self, run: &Sent, destination: &Destination) {
        let place = |of: &Destination| (of.name.clone(), of.kind, of.host.clone(), of.model.clone());
        let is_same =
            |sent: &SentTo| sent.deployment == run.deployment && place(&sent.destination) == place(destination);
        let at = self.sent.iter().position(is_same).unwrap_or(self.sent.len());
        if at == self.sent.len() {
            self.sent.push(SentTo::nothing(run, destination));
        }
        let sent = &mut self.sent[at];
        sent.runs += 1;
        sent.between.0 = sent.between.0.clone().min(run.started_at.clone());
        sent.between.1 = sent.between.1.clone().max(run.started_at.clone());
        for request in run.requests.iter().filter(|request| request.destination == destination.name) {
            if request.is_cached {
                sent.cached += 1;
                continue;
            }
            sent.requests += 1;
            sent.bytes += request.bytes.unwrap_or_default();
            sent.is_counted &= request.bytes.is_some();
            for label in request.labels.iter().filter(|label| !sent.labels.contains(label)).collect::<Vec<_>>() {
                sent.labels.push(label.clone());
            }
            if request.bytes != Some(0) {
                for (kind, times) in &request.found {
                    *sent.found.entry(kind).or_default() += times;
                }
            }
        }
    }
}
