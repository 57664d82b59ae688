//! Where a model computes.

use candle_core::Device;
use lumos_core::spec;

use crate::error::{Error, Result};

/// The device that `wanted` names.
pub(crate) fn resolve(wanted: spec::Device) -> Result<Device> {
    match wanted {
        spec::Device::Cpu => Ok(Device::Cpu),
        spec::Device::Auto => Ok(automatic()),
        spec::Device::Cuda(number) => cuda(number),
        spec::Device::Metal => metal(),
    }
}

/// What people call it.
pub(crate) fn describe(device: &Device) -> String {
    match device.location() {
        candle_core::DeviceLocation::Cpu => "cpu".to_owned(),
        candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        candle_core::DeviceLocation::Metal { .. } => "metal".to_owned(),
    }
}

fn automatic() -> Device {
    cuda(0).or_else(|_| metal()).unwrap_or(Device::Cpu)
}

#[cfg(feature = "cuda")]
fn cuda(number: u32) -> Result<Device> {
    Device::new_cuda(number as usize)
        .map_err(|error| Error::Unusable(format!("CUDA device {number} cannot be used: {error}; try `device: Cpu`")))
}

#[cfg(not(feature = "cuda"))]
fn cuda(number: u32) -> Result<Device> {
    Err(Error::Unusable(format!(
        "CUDA device {number} cannot be used: this build has no CUDA support; build with `--features cuda` or use \
         `device: Cpu`"
    )))
}

#[cfg(feature = "metal")]
fn metal() -> Result<Device> {
    Device::new_metal(0)
        .map_err(|error| Error::Unusable(format!("the Metal device cannot be used: {error}; try `device: Cpu`")))
}

#[cfg(not(feature = "metal"))]
fn metal() -> Result<Device> {
    Err(Error::Unusable(
        "the Metal device cannot be used: this build has no Metal support; build with `--features metal` or use \
         `device: Cpu`"
            .to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_always_there() {
        assert_eq!(describe(&resolve(spec::Device::Cpu).unwrap()), "cpu");
        resolve(spec::Device::Auto).unwrap();
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_build_without_cuda_says_how_to_get_it() {
        let error = resolve(spec::Device::Cuda(1)).unwrap_err().to_string();
        assert!(error.contains("device 1") && error.contains("--features cuda"), "{error}");
    }
}
