//! Files over HTTP, resumed where they broke off: a partial file is kept under its checksum's name, so that any source
//! of the same bytes can go on with it.

use super::{Job, check_sum, partial};
use crate::catalog::AssetFile;
use crate::disk::{self, CopyError};
use crate::error::Trouble;
use reqwest::StatusCode;
use reqwest::blocking::{Client, Response};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, RANGE};
use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A server that doesn't accept a connection in this time is given up.
const CONNECT: Duration = Duration::from_secs(3);
/// A connected server that sends nothing for so long is given up.
const SILENCE: Duration = Duration::from_secs(30);
/// How often a transfer that broke off is taken up again, as long as each time brings something.
const RESUMPTIONS: u32 = 5;

/// Brings the files from `url`.
pub(super) fn fetch(job: &Job, url: &str, missing: &[(u64, &AssetFile)]) -> Result<(), Trouble> {
    // The blocking client must not be used on an async runtime's own thread: a thread of its own is safe everywhere.
    std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            let client = client()?;
            for (start, file) in missing {
                let url = url.replace("{file}", file.source_name());
                one(job, &client, &url, *start, file)?;
            }
            Ok(())
        });
        work.join().unwrap_or_else(|_| Err(Trouble::Source("the HTTP client failed".to_owned())))
    })
}

fn client() -> Result<Client, Trouble> {
    // An error means that a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .user_agent(concat!("lumos/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .timeout(SILENCE)
        .build()
        .map_err(|error| Trouble::Source(request_error(error)))
}

fn one(job: &Job, client: &Client, url: &str, start: u64, file: &AssetFile) -> Result<(), Trouble> {
    let part = Part::of(job, file);
    loop {
        let resumed = part.length() > 0;
        transfer(job, client, url, start, file, &part)?;
        let landed = part.land(job, file);
        if matches!(landed, Err(Trouble::Source(_))) {
            part.remove(job)?;
            // What was there before may be to blame: once more from the beginning.
            if resumed {
                continue;
            }
        }
        return landed;
    }
}

/// The bytes received so far.
struct Part {
    path: PathBuf,
    /// The length of the whole, as far as the catalog knows it: not for a packed file.
    whole: Option<u64>,
    /// No source may send more.
    limit: u64,
}

impl Part {
    fn of(job: &Job, file: &AssetFile) -> Self {
        let packed = file.packed();
        Part {
            path: partial(job.staging, file),
            whole: (!packed).then_some(file.size),
            // gzip adds little to what it can't compress.
            limit: if packed { file.size + file.size / 1000 + 1024 } else { file.size },
        }
    }

    fn length(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    fn remove(&self, job: &Job) -> Result<(), Trouble> {
        disk::remove_all(&self.path).map_err(|error| Trouble::write(&job.asset.name, "remove", &self.path, error))
    }

    /// Verifies the bytes and gives them their place.
    fn land(&self, job: &Job, file: &AssetFile) -> Result<(), Trouble> {
        let name = &job.asset.name;
        let failed = |error| Trouble::write(name, "read", &self.path, error);
        if file.packed() {
            let mut from = File::open(&self.path).map_err(failed)?;
            job.land(file, &mut from, None)?;
            return self.remove(job);
        }
        check_sum(file, &disk::sha256(&self.path).map_err(failed)?)?;
        let target = job.new_folder().join(&file.name);
        fs::rename(&self.path, &target).map_err(|error| Trouble::write(name, "rename to", &target, error))
    }
}

/// Receives until the whole is there.
fn transfer(job: &Job, client: &Client, url: &str, start: u64, file: &AssetFile, part: &Part) -> Result<(), Trouble> {
    if part.length() > part.limit {
        part.remove(job)?;
    }
    let mut resumptions = 0;
    loop {
        let before = part.length();
        if part.whole == Some(before) {
            job.meter.reach(start + before);
            return Ok(());
        }
        match receive(job, client, url, start, file, part)? {
            Received::All => return Ok(()),
            Received::Nothing => part.remove(job)?,
            Received::Some(reason) => {
                resumptions += 1;
                if part.length() <= before || resumptions > RESUMPTIONS {
                    let (length, whole) =
                        (part.length(), part.whole.map_or(String::new(), |whole| format!(" of {whole}")));
                    return Err(Trouble::Source(format!("broke off after {length}{whole} bytes: {reason}")));
                }
                job.meter.message(&format!("{reason}; resuming at {} bytes", part.length()));
            }
        }
    }
}

enum Received {
    /// The server has nothing more.
    All,
    /// It broke off, for this reason.
    Some(String),
    /// The server can't continue what is there: begin again.
    Nothing,
}

/// One request, from where the partial file ends.
fn receive(
    job: &Job,
    client: &Client,
    url: &str,
    start: u64,
    file: &AssetFile,
    part: &Part,
) -> Result<Received, Trouble> {
    let mut have = part.length();
    let mut request = client.get(url).header(ACCEPT_ENCODING, "identity");
    if have > 0 {
        request = request.header(RANGE, format!("bytes={have}-"));
    }
    let mut response = request.send().map_err(|error| Trouble::Source(request_error(error)))?;
    match response.status() {
        StatusCode::PARTIAL_CONTENT if range_start(&response) == Some(have) => {}
        StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => return Ok(Received::Nothing),
        StatusCode::OK => have = 0,
        status => return Err(Trouble::Source(format!("the server answered {status}"))),
    }
    if let (Some(rest), Some(whole)) = (response.content_length(), part.whole)
        && have + rest != whole
    {
        if have > 0 {
            return Ok(Received::Nothing);
        }
        return Err(Trouble::Source(format!("{}: expected {whole} bytes, the server has {rest}", file.name)));
    }
    let (outcome, written) = append(job, &mut response, start, have, part)?;
    let ended = match outcome {
        Ok(_) if part.whole.is_none_or(|whole| have + written == whole) => Received::All,
        Ok(_) => Received::Some("the connection was closed".to_owned()),
        Err(CopyError::Read(error)) => Received::Some(chain(&error)),
        Err(error @ CopyError::TooLong) => {
            part.remove(job)?;
            return Err(job.copy_trouble(file, &part.path, error));
        }
        Err(error) => return Err(job.copy_trouble(file, &part.path, error)),
    };
    Ok(ended)
}

type Copied = Result<u64, CopyError>;

/// Writes the body behind the first `have` bytes of the partial file. Gives how it ended and how much was written.
fn append(job: &Job, body: &mut Response, start: u64, have: u64, part: &Part) -> Result<(Copied, u64), Trouble> {
    let failed = |error| Trouble::write(&job.asset.name, "write", &part.path, error);
    let mut to = open_at(&part.path, have).map_err(failed)?;
    let mut written = 0;
    let copied = disk::copy(body, &mut to, part.limit - have.min(part.limit), &mut |count| {
        written = count;
        if part.whole.is_some() {
            job.meter.reach(start + have + count);
        }
        !job.meter.cancelled()
    });
    if !matches!(copied, Err(CopyError::Write(_))) {
        to.sync_all().map_err(failed)?;
    }
    Ok((copied, written))
}

/// Opens for writing behind the first `have` bytes.
fn open_at(path: &Path, have: u64) -> std::io::Result<File> {
    use std::io::{Seek, SeekFrom};
    let mut file = File::options().create(true).truncate(false).write(true).open(path)?;
    file.set_len(have)?;
    file.seek(SeekFrom::Start(have))?;
    Ok(file)
}

/// The first byte that a partial answer brings: `bytes 100-199/200` gives 100.
fn range_start(response: &Response) -> Option<u64> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

/// A request's error without the address: the source is named elsewhere, and redirections may hold secrets.
fn request_error(error: reqwest::Error) -> String {
    chain(&error.without_url())
}

/// An error with its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
