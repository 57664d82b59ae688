//! Where a model computes.

use candle_core::Device;
use lumos_core::spec;

use crate::error::{Error, Result};

/// Where to compute, and why not on a GPU where `Auto` found none that this build could use.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) device: Device,
    pub(crate) note: Option<String>,
}

impl Resolved {
    /// What people call it, with the note.
    pub(crate) fn describe(&self) -> String {
        let name = match self.device.location() {
            candle_core::DeviceLocation::Cpu => "cpu".to_owned(),
            candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
            candle_core::DeviceLocation::Metal { .. } => "metal".to_owned(),
        };
        match &self.note {
            Some(note) => format!("{name} ({note})"),
            None => name,
        }
    }
}

/// The device that `wanted` names.
pub(crate) fn resolve(wanted: spec::Device) -> Result<Resolved> {
    let device = match wanted {
        spec::Device::Auto => return Ok(automatic()),
        spec::Device::Cpu => Ok(Device::Cpu),
        spec::Device::Cuda(number) => cuda(number),
        spec::Device::Metal => metal(),
    };
    match device {
        Ok(device) => Ok(Resolved { device, note: None }),
        Err(reason) => Err(Error::Unusable(format!("{reason}; try `device: Cpu`"))),
    }
}

/// The GPU that this build is for, else the CPU. A build for none misses none.
fn automatic() -> Resolved {
    let tried = [cfg!(feature = "cuda").then(|| cuda(0)), cfg!(feature = "metal").then(metal)];
    let mut reasons = Vec::new();
    for tried in tried.into_iter().flatten() {
        match tried {
            Ok(device) => return Resolved { device, note: None },
            Err(reason) => reasons.push(reason),
        }
    }
    let note = (!reasons.is_empty()).then(|| reasons.join("; "));
    if let Some(note) = &note {
        tracing::warn!("computing on the CPU: {note}");
    }
    Resolved { device: Device::Cpu, note }
}

/// A device, or why there is none.
type Found = std::result::Result<Device, String>;

#[cfg(feature = "cuda")]
fn cuda(number: u32) -> Found {
    use candle_core::cuda_backend::cudarc::driver::{CudaContext, DriverError, sys::CUresult};

    let unusable = |reason: String| format!("CUDA device {number} cannot be used: {reason}");
    let devices = match CudaContext::device_count() {
        Ok(devices) => devices.unsigned_abs(),
        Err(DriverError(CUresult::CUDA_ERROR_NO_DEVICE)) => 0,
        Err(error) => return Err(unusable(error.to_string())),
    };
    if number >= devices {
        return Err(unusable(absent(devices)));
    }
    let device = Device::new_cuda(number as usize).map_err(|error| unusable(error.to_string()))?;
    match computes(&device) {
        Ok(true) => Ok(device),
        Ok(false) => Err(unusable("this build's kernels are for another GPU".to_owned())),
        Err(error) => Err(unusable(format!("{error}; this build's kernels may be for another GPU"))),
    }
}

/// Why a number names no device, where there are so many.
#[cfg(any(feature = "cuda", test))]
fn absent(devices: u32) -> String {
    match devices {
        0 => "there is none".to_owned(),
        1 => "the only one is Cuda(0)".to_owned(),
        more => format!("there are Cuda(0) to Cuda({})", more - 1),
    }
}

/// Whether quantized matrices are multiplied rightly on `device`. candle's kernels for them are compiled for one
/// generation of GPUs; on another they do not start, nobody says so, and what was in memory is taken for the product.
#[cfg(any(feature = "cuda", test))]
fn computes(device: &Device) -> candle_core::Result<bool> {
    use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
    use candle_core::{DType, Module as _, Tensor};

    const WIDTH: usize = 64;
    let ones = Tensor::ones((WIDTH, WIDTH), DType::F32, device)?;
    let matrix = QMatMul::from_qtensor(QTensor::quantize(&ones, GgmlDType::Q8_0)?)?;
    // One row and many are multiplied by different kernels.
    for rows in [1, 32] {
        let product = matrix.forward(&Tensor::ones((rows, WIDTH), DType::F32, device)?)?;
        let is_right = |x: &f32| (x - WIDTH as f32).abs() < 1.0;
        if !product.flatten_all()?.to_vec1()?.iter().all(is_right) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(not(feature = "cuda"))]
fn cuda(number: u32) -> Found {
    Err(format!(
        "CUDA device {number} cannot be used: this build has no CUDA support; build with `--features cuda` or choose \
         another device"
    ))
}

#[cfg(feature = "metal")]
fn metal() -> Found {
    Device::new_metal(0).map_err(|error| format!("the Metal device cannot be used: {error}"))
}

#[cfg(not(feature = "metal"))]
fn metal() -> Found {
    Err("the Metal device cannot be used: this build has no Metal support; build with `--features metal` or choose \
         another device"
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_always_there() {
        assert_eq!(resolve(spec::Device::Cpu).unwrap().describe(), "cpu");
        resolve(spec::Device::Auto).unwrap();
    }

    #[test]
    fn the_check_of_a_device_passes_where_products_are_right() {
        assert!(computes(&Device::Cpu).unwrap());
    }

    #[test]
    fn numbers_that_name_no_device_are_answered_with_those_that_do() {
        assert_eq!([0, 1, 4].map(absent), ["there is none", "the only one is Cuda(0)", "there are Cuda(0) to Cuda(3)"]);
    }

    #[test]
    fn a_note_is_told_with_the_device() {
        let resolved = Resolved { device: Device::Cpu, note: Some("CUDA device 0 cannot be used".to_owned()) };
        assert_eq!(resolved.describe(), "cpu (CUDA device 0 cannot be used)");
    }

    #[cfg(not(any(feature = "cuda", feature = "metal")))]
    #[test]
    fn a_build_for_no_gpu_misses_none() {
        assert_eq!(resolve(spec::Device::Auto).unwrap().describe(), "cpu");
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_build_without_cuda_says_how_to_get_it() {
        let error = resolve(spec::Device::Cuda(1)).unwrap_err().to_string();
        assert!(error.contains("device 1") && error.contains("--features cuda"), "{error}");
    }
}
