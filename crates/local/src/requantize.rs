//! Converts weights that candle computes slowly on this CPU.
//!
//! candle has no vectorised dot product for some of GGUF's types, which makes such files several times slower than
//! they need be. Their matrices are converted to Q8_0 at load (a rounding error of at most 1/254 of each block's
//! largest weight) and kept in a cache, so that it happens once per file.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Cursor, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use candle_core::Device;
use candle_core::quantized::gguf_file::{self, Content, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use lumos_core::BackendError;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::gguf::{open_file, read_header, read_header_from};

/// The version of candle whose conversion a cached file holds.
const CANDLE: &str = "0.11.1";
const SEAL: [u8; 8] = *b"lumosq1\n";
const SEAL_BYTES: u64 = SEAL.len() as u64 + 32;
/// `general.file_type` of a file that is mostly Q8_0.
const MOSTLY_Q8_0: u32 = 7;

/// How the weights of a GGUF file are stored and computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quantization {
    /// The type that most weights are stored in, e.g. `Q4_1`.
    pub stored: String,
    /// The types that are converted to Q8_0 for this CPU; empty when all can be computed as they are.
    pub converted: Vec<String>,
}

impl std::fmt::Display for Quantization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.converted.as_slice() {
            [] => f.write_str(&self.stored),
            converted => write!(f, "Q8_0 (requantized from {})", converted.join(", ")),
        }
    }
}

/// How the weights of the GGUF file at `path` are stored and would be computed on this CPU; reads only its header.
pub fn quantization(path: &Path) -> std::result::Result<Quantization, BackendError> {
    Ok(plan(&read_header(path)?))
}

/// A GGUF file ready to load: the file itself or a converted one.
pub(crate) struct Prepared {
    pub(crate) content: Content,
    pub(crate) reader: Box<dyn ReadSeek>,
    pub(crate) quantization: Quantization,
    /// Why the conversion was not kept.
    pub(crate) note: Option<String>,
}

/// What weights are read from.
pub(crate) trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

/// Opens the file at `path` with this header, converted where that makes it faster on `device`.
pub(crate) fn prepare(
    path: &Path,
    content: Content,
    device: &Device,
    cache: Option<&Path>,
    digest: &str,
) -> Result<Prepared> {
    let mut quantization = plan(&content);
    if !device.is_cpu() {
        quantization.converted.clear();
    }
    if quantization.converted.is_empty() {
        let reader = Box::new(BufReader::new(open_file(path)?));
        return Ok(Prepared { content, reader, quantization, note: None });
    }
    let Some(folder) = cache else {
        let (content, reader) = in_memory(path, &content)?;
        return Ok(Prepared { content, reader, quantization, note: None });
    };
    let digest = if digest.is_empty() { file_digest(path)? } else { digest.to_owned() };
    let cached = cached_path(folder, &digest);
    if let Some((content, reader)) = open_cached(&cached) {
        return Ok(Prepared { content, reader, quantization, note: None });
    }
    let converted = convert(path, &content)?;
    match store(&converted, &cached) {
        Ok(()) => {
            drop(converted);
            let (content, reader) = open_cached(&cached)
                .ok_or_else(|| Error::unusable(&cached, "the converted weights cannot be read back"))?;
            Ok(Prepared { content, reader, quantization, note: None })
        }
        Err(error) => {
            tracing::warn!(path = %cached.display(), %error, "converted weights are not kept");
            let note = Some(format!("not cached: {error}"));
            let (content, reader) = from_bytes(path, converted.to_bytes()?)?;
            Ok(Prepared { content, reader, quantization, note })
        }
    }
}

/// What the header says.
fn plan(content: &Content) -> Quantization {
    let mut weights: Vec<(GgmlDType, u64)> = Vec::new();
    for info in content.tensor_infos.values().filter(|info| info.shape.rank() > 1) {
        let elements = info.shape.elem_count() as u64;
        match weights.iter_mut().find(|(dtype, _)| *dtype == info.ggml_dtype) {
            Some((_, sum)) => *sum += elements,
            None => weights.push((info.ggml_dtype, elements)),
        }
    }
    weights.sort_by_key(|(dtype, elements)| (std::cmp::Reverse(*elements), name(*dtype)));
    let converted = weights.iter().filter(|(dtype, _)| is_slow(*dtype)).map(|(dtype, _)| name(*dtype)).collect();
    Quantization { stored: weights.first().map(|(dtype, _)| name(*dtype)).unwrap_or_default(), converted }
}

fn name(dtype: GgmlDType) -> String {
    // Of the forms `Q4_1`, `Q6K` and `F16`; llama.cpp writes the K-quants as `Q6_K`.
    let name = format!("{dtype:?}");
    match name.strip_suffix('K') {
        Some(bits) => format!("{bits}_K"),
        None => name,
    }
}

/// Whether candle has a vectorised dot product for Q8_0 on this CPU but none for `dtype`
/// (`vec_dot` in candle-core's `quantized/k_quants.rs`).
fn is_slow(dtype: GgmlDType) -> bool {
    matches!(dtype, GgmlDType::Q4_1 | GgmlDType::Q5_0 | GgmlDType::Q5_1 | GgmlDType::Q8_1) && has_vector_q8_0()
}

#[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
fn has_vector_q8_0() -> bool {
    std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "x86")))]
fn has_vector_q8_0() -> bool {
    cfg!(any(target_feature = "neon", target_feature = "simd128"))
}

/// A converted model, not written yet.
struct Converted {
    metadata: Vec<(String, Value)>,
    tensors: Vec<(String, QTensor)>,
}

fn convert(path: &Path, content: &Content) -> Result<Converted> {
    let mut reader = BufReader::new(open_file(path)?);
    let mut names: Vec<&String> = content.tensor_infos.keys().collect();
    names.sort_unstable();
    let mut tensors = Vec::with_capacity(names.len());
    for name in names {
        let tensor = content.tensor(&mut reader, name, &Device::Cpu).and_then(|tensor| {
            if is_slow(tensor.dtype()) {
                QTensor::quantize(&tensor.dequantize(&Device::Cpu)?, GgmlDType::Q8_0)
            } else {
                Ok(tensor)
            }
        });
        let tensor = tensor.map_err(|error| Error::unusable(path, format!("tensor `{name}`: {error}")))?;
        tensors.push((name.clone(), tensor));
    }
    let mut metadata: Vec<(String, Value)> =
        content.metadata.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    // candle writes tensors aligned to 32 bytes, whatever the file had.
    metadata.retain(|(key, _)| key != "general.alignment" && key != "general.file_type");
    metadata.push(("general.file_type".to_owned(), Value::U32(MOSTLY_Q8_0)));
    // An empty array has no type that candle could write.
    metadata.retain(|(_, value)| !matches!(value, Value::Array(items) if items.is_empty()));
    metadata.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(Converted { metadata, tensors })
}

impl Converted {
    fn write(&self, to: &mut (impl Write + Seek)) -> candle_core::Result<()> {
        let metadata: Vec<_> = self.metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
        let tensors: Vec<_> = self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        gguf_file::write(to, &metadata, &tensors)
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Cursor::new(Vec::new());
        self.write(&mut bytes)?;
        Ok(bytes.into_inner())
    }
}

type Opened = (Content, Box<dyn ReadSeek>);

fn in_memory(path: &Path, content: &Content) -> Result<Opened> {
    let bytes = convert(path, content)?.to_bytes()?;
    from_bytes(path, bytes)
}

fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Opened> {
    let mut reader = Cursor::new(bytes);
    let content = read_header_from(&mut reader).map_err(|reason| Error::unusable(path, reason))?;
    Ok((content, Box::new(reader)))
}

fn cached_path(folder: &Path, digest: &str) -> PathBuf {
    let key: String = digest.chars().filter(char::is_ascii_alphanumeric).collect();
    folder.join(format!("{key}-candle-{CANDLE}-q8_0.gguf"))
}

fn file_digest(path: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    io::copy(&mut open_file(path)?, &mut hash).map_err(|error| Error::unusable(path, error))?;
    Ok(format!("{:x}", hash.finalize()))
}

/// Writes a converted model under a name of its own first, so that nobody ever sees half a file. Its last bytes seal
/// it with the SHA-256 of the rest.
fn store(converted: &Converted, cached: &Path) -> io::Result<()> {
    let folder = cached.parent().ok_or(io::ErrorKind::InvalidInput)?;
    std::fs::create_dir_all(folder)?;
    let file = tempfile::NamedTempFile::new_in(folder)?;
    let mut sealed = Sealing { file: BufWriter::new(file), hash: Sha256::new(), written: 0 };
    converted.write(&mut sealed).map_err(io::Error::other)?;
    let Sealing { mut file, hash, .. } = sealed;
    file.write_all(&SEAL)?;
    file.write_all(&hash.finalize())?;
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.as_file().sync_all()?;
    file.persist(cached)?;
    Ok(())
}

/// The cached model, when it is there and its seal is right.
fn open_cached(cached: &Path) -> Option<Opened> {
    let mut file = File::open(cached).ok()?;
    let size = file.metadata().ok()?.len().checked_sub(SEAL_BYTES)?;
    let mut hash = Sha256::new();
    io::copy(&mut (&mut file).take(size), &mut hash).ok()?;
    let mut seal = [0; SEAL_BYTES as usize];
    file.read_exact(&mut seal).ok()?;
    if seal[..SEAL.len()] != SEAL || seal[SEAL.len()..] != hash.finalize()[..] {
        tracing::warn!(path = %cached.display(), "cached weights are damaged; converting them again");
        return None;
    }
    file.rewind().ok()?;
    let mut reader = BufReader::new(file);
    let content = read_header_from(&mut reader).ok()?;
    Some((content, Box::new(reader)))
}

/// Hashes what it writes. candle only asks for the position.
struct Sealing<W> {
    file: W,
    hash: Sha256,
    written: u64,
}

impl<W: Write> Write for Sealing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.file.write(bytes)?;
        self.hash.update(&bytes[..taken]);
        self.written += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl<W> Seek for Sealing<W> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match to {
            SeekFrom::Current(0) => Ok(self.written),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}
