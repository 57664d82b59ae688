//! Reads the header of a GGUF file: metadata and the list of tensors.
//!
//! Every count and length is checked against the size of the file before anything is allocated, so a damaged or
//! hostile header ends in an error, never in a panic or a huge allocation. The result is candle's own `Content`.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::{Content, DEFAULT_ALIGNMENT, TensorInfo, Value, VersionedMagic};

use crate::error::{Error, Result};

const MAGIC: [u8; 4] = *b"GGUF";
/// Far above any published model; a value takes about 32 bytes in memory, so this bounds one array to 128 MiB.
const MAX_ARRAY: u64 = 1 << 22;
const MAX_ENTRIES: u64 = 1 << 16;
const MAX_ARRAY_DEPTH: u32 = 4;
const MAX_DIMENSIONS: u32 = 4;

/// Reads the header of the file at `path`.
pub(crate) fn read_header(path: &Path) -> Result<Content> {
    let file = open_file(path)?;
    read_header_from(&mut BufReader::new(file)).map_err(|reason| Error::unusable(path, reason))
}

/// Opens a regular file for reading.
pub(crate) fn open_file(path: &Path) -> Result<File> {
    let file = File::open(path).map_err(|error| Error::unusable(path, error))?;
    let metadata = file.metadata().map_err(|error| Error::unusable(path, error))?;
    if !metadata.is_file() {
        return Err(Error::unusable(path, "not a file; name the .gguf file itself"));
    }
    Ok(file)
}

/// Reads a header from anything that can seek; the error is the reason alone.
pub(crate) fn read_header_from<R: Read + Seek>(reader: &mut R) -> std::result::Result<Content, String> {
    let size = reader.seek(SeekFrom::End(0)).map_err(|error| error.to_string())?;
    reader.rewind().map_err(|error| error.to_string())?;
    let mut source = Source { reader, size, position: 0 };

    if source.bytes::<4>().ok() != Some(MAGIC) {
        return Err("not a GGUF file (it does not begin with `GGUF`)".to_owned());
    }
    let magic = match source.u32()? {
        2 => VersionedMagic::GgufV2,
        3 => VersionedMagic::GgufV3,
        version => return Err(format!("GGUF version {version} is not supported; 2 and 3 are")),
    };
    // The smallest tensor entry has a name length, a rank, a type and an offset; the smallest metadata entry a name
    // length, a type and one byte.
    let tensors = source.count("tensors", 24, MAX_ENTRIES)?;
    let entries = source.count("metadata entries", 13, MAX_ENTRIES)?;

    let mut metadata = HashMap::new();
    for _ in 0..entries {
        let key = source.string()?;
        let kind = source.u32()?;
        let value = source.value(kind, 0).map_err(|reason| format!("metadata `{key}`: {reason}"))?;
        metadata.insert(key, value);
    }
    let mut tensor_infos = HashMap::new();
    for _ in 0..tensors {
        let name = source.string()?;
        let info = source.tensor().map_err(|reason| format!("tensor `{name}`: {reason}"))?;
        if tensor_infos.insert(name.clone(), info).is_some() {
            return Err(format!("tensor `{name}` is listed twice"));
        }
    }

    let alignment = match metadata.get("general.alignment") {
        None => DEFAULT_ALIGNMENT,
        Some(value) => value
            .to_u32()
            .ok()
            .filter(|a| a.is_power_of_two() && *a <= 1 << 16)
            .map(u64::from)
            .ok_or("`general.alignment` must be a power of two up to 65536")?,
    };
    let tensor_data_offset = source.position.next_multiple_of(alignment);
    for (name, info) in &tensor_infos {
        let end = byte_size(info).and_then(|bytes| tensor_data_offset.checked_add(info.offset)?.checked_add(bytes));
        if end.is_none_or(|end| end > size) {
            return Err(format!("tensor `{name}` lies outside of the file, which has {size} bytes; is it truncated?"));
        }
    }
    Ok(Content { magic, metadata, tensor_infos, tensor_data_offset })
}

/// Bytes that a tensor takes in the file; `None` when that is no sensible number.
fn byte_size(info: &TensorInfo) -> Option<u64> {
    let elements = info.shape.dims().iter().try_fold(1_u64, |product, &dim| product.checked_mul(dim as u64))?;
    let block = info.ggml_dtype.block_size() as u64;
    (elements / block).checked_mul(info.ggml_dtype.type_size() as u64)
}

/// A reader that knows how much of the file is left.
struct Source<'a, R> {
    reader: &'a mut R,
    size: u64,
    position: u64,
}

impl<R: Read> Source<'_, R> {
    fn remaining(&self) -> u64 {
        self.size.saturating_sub(self.position)
    }

    fn bytes<const N: usize>(&mut self) -> std::result::Result<[u8; N], String> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> std::result::Result<(), String> {
        self.reader.read_exact(bytes).map_err(|error| {
            if error.kind() == std::io::ErrorKind::UnexpectedEof {
                format!("the header is truncated: the file ends after {} bytes", self.size)
            } else {
                error.to_string()
            }
        })?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn u32(&mut self) -> std::result::Result<u32, String> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> std::result::Result<u64, String> {
        self.bytes().map(u64::from_le_bytes)
    }

    /// A count of things that take at least `smallest` bytes each.
    fn count(&mut self, what: &str, smallest: u64, most: u64) -> std::result::Result<u64, String> {
        let count = self.u64()?;
        if count > most {
            return Err(format!("the header announces {count} {what}; {most} is the most that is accepted"));
        }
        if count.saturating_mul(smallest) > self.remaining() {
            return Err(format!("the header announces {count} {what}, more than the file has room for"));
        }
        Ok(count)
    }

    fn string(&mut self) -> std::result::Result<String, String> {
        let length = self.u64()?;
        if length > self.remaining() {
            return Err(format!("a text of {length} bytes does not fit the {} bytes left", self.remaining()));
        }
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        // Some published files hold texts that end in NUL or are not quite UTF-8.
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    fn value(&mut self, kind: u32, depth: u32) -> std::result::Result<Value, String> {
        Ok(match kind {
            0 => Value::U8(self.bytes::<1>()?[0]),
            1 => Value::I8(i8::from_le_bytes(self.bytes()?)),
            2 => Value::U16(u16::from_le_bytes(self.bytes()?)),
            3 => Value::I16(i16::from_le_bytes(self.bytes()?)),
            4 => Value::U32(self.u32()?),
            5 => Value::I32(i32::from_le_bytes(self.bytes()?)),
            6 => Value::F32(f32::from_le_bytes(self.bytes()?)),
            7 => Value::Bool(self.bytes::<1>()?[0] != 0),
            8 => Value::String(self.string()?),
            9 => {
                if depth == MAX_ARRAY_DEPTH {
                    return Err(format!("arrays are nested deeper than {MAX_ARRAY_DEPTH}"));
                }
                let item = self.u32()?;
                let length = self.count("array items", smallest_item(item)?, MAX_ARRAY)?;
                let mut items = Vec::with_capacity(length as usize);
                for _ in 0..length {
                    items.push(self.value(item, depth + 1)?);
                }
                Value::Array(items)
            }
            10 => Value::U64(self.u64()?),
            11 => Value::I64(i64::from_le_bytes(self.bytes()?)),
            12 => Value::F64(f64::from_le_bytes(self.bytes()?)),
            other => return Err(unknown_type(other)),
        })
    }

    fn tensor(&mut self) -> std::result::Result<TensorInfo, String> {
        let rank = self.u32()?;
        if rank == 0 || rank > MAX_DIMENSIONS {
            return Err(format!("{rank} dimensions; 1 to {MAX_DIMENSIONS} are possible"));
        }
        let mut dims = Vec::with_capacity(rank as usize);
        for _ in 0..rank {
            let dim = self.u64()?;
            // No tensor has more elements than the file has bits.
            if dim == 0 || dim > self.size.saturating_mul(8) {
                return Err(format!("a dimension of {dim} is not possible in a file of {} bytes", self.size));
            }
            dims.push(dim as usize);
        }
        let number = self.u32()?;
        let ggml_dtype = element_type(number)
            .ok_or_else(|| format!("type {number} is not supported; requantize the model, e.g. to Q8_0 or Q4_K_M"))?;
        if !dims[0].is_multiple_of(ggml_dtype.block_size()) {
            return Err(format!(
                "rows of {} elements are no multiple of the block size {}",
                dims[0],
                ggml_dtype.block_size()
            ));
        }
        dims.reverse();
        let offset = self.u64()?;
        Ok(TensorInfo { ggml_dtype, shape: dims.into(), offset })
    }
}

/// GGML's numbers of the element types that candle knows.
fn element_type(number: u32) -> Option<GgmlDType> {
    Some(match number {
        0 => GgmlDType::F32,
        1 => GgmlDType::F16,
        2 => GgmlDType::Q4_0,
        3 => GgmlDType::Q4_1,
        6 => GgmlDType::Q5_0,
        7 => GgmlDType::Q5_1,
        8 => GgmlDType::Q8_0,
        9 => GgmlDType::Q8_1,
        10 => GgmlDType::Q2K,
        11 => GgmlDType::Q3K,
        12 => GgmlDType::Q4K,
        13 => GgmlDType::Q5K,
        14 => GgmlDType::Q6K,
        15 => GgmlDType::Q8K,
        30 => GgmlDType::BF16,
        _ => return None,
    })
}

fn smallest_item(kind: u32) -> std::result::Result<u64, String> {
    Ok(match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        8 | 10..=12 => 8,
        9 => 12,
        other => return Err(unknown_type(other)),
    })
}

fn unknown_type(number: u32) -> String {
    format!("value type {number} does not exist")
}
