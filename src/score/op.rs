//! The kernel as an operation of candle's graphs, so that batch scoring, graphs and tests share its code.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, bail};

use super::{Kernel, kernel::Buffers};

/// Compact rows `[batch, row width]`, F32 and contiguous, become logits `[batch]`. No gradient: networks are trained as
/// plain graphs and packed afterwards.
#[derive(Clone, Debug)]
pub struct KernelOp(pub Arc<Kernel>);

impl CustomOp1 for KernelOp {
    fn name(&self) -> &'static str {
        "leadwire-kernel"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, width) = layout.shape().dims2()?;
        let (CpuStorage::F32(rows), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
            bail!("rows must be contiguous and F32");
        };
        let Some(rows) = rows.get(start..end).filter(|_| width == self.0.row_width() && width > 0) else {
            bail!("rows of {width}, the kernel takes {}", self.0.row_width());
        };
        let mut buffers = Buffers::default();
        let logits = rows.chunks_exact(width).map(|row| self.0.logit(row, &mut buffers)).collect();
        Ok((CpuStorage::F32(logits), Shape::from(batch)))
    }
}
