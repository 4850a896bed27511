//! Tensors that are used again, by shape and type.
//!
//! [`BufferPool::acquire`] gives a buffer that was returned before, where one of the same shape and type is kept, and
//! allocates one where not. A [`PooledTensor`] is a [`Tensor`] that returns when it is dropped. What the pool keeps is
//! bounded by number, by number of each key, by bytes and by age.
//!
//! Buffers are allocated, zeroed and freed outside of the pool's lock.

mod shelf;

use ballast_backend::{Clock, DType, Tensor, TensorData, TensorError};
use shelf::{Key, Shelf};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bounds of what a [`BufferPool`] keeps. Buffers in use are not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferPoolOptions {
    /// How long an unused buffer is kept.
    pub ttl: Duration,
    /// Most buffers of one shape and type.
    pub buffers_per_key_max: usize,
    /// Most buffers of all shapes and types.
    pub buffers_max: usize,
    /// Most bytes of elements.
    pub pool_bytes_max: usize,
}

impl Default for BufferPoolOptions {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(300),
            buffers_per_key_max: 4,
            buffers_max: 256,
            pool_bytes_max: 100 * 1000 * 1000,
        }
    }
}

/// What is in a buffer that is given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Zeros.
    Zeroed,
    /// Whatever the last user left: for callers that write every element before they read one.
    Leftover,
}

/// What a [`BufferPool`] did and keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BufferStats {
    /// Buffers that were allocated.
    pub total_allocations: u64,
    /// Calls answered by a kept buffer.
    pub cache_hits: u64,
    /// Calls that found none.
    pub cache_misses: u64,
    /// Buffers that are kept.
    pub current_buffer_count: usize,
    /// Bytes of elements that are kept.
    pub current_pool_bytes: usize,
    /// Most bytes of elements that were ever kept.
    pub peak_pool_bytes: usize,
    /// Bytes of elements that were kept, or came back, and were freed.
    pub total_bytes_freed: u64,
}

impl BufferStats {
    /// Share of the calls answered by a kept buffer, 0 to 1; `None`: there was no call.
    #[must_use]
    pub fn hit_rate(&self) -> Option<f64> {
        let n_calls = self.cache_hits + self.cache_misses;
        (n_calls > 0).then(|| self.cache_hits as f64 / n_calls as f64)
    }
}

impl fmt::Display for BufferStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} buffers of {} bytes kept, ", self.current_buffer_count, self.current_pool_bytes)?;
        write!(f, "{} bytes at most, {} freed; ", self.peak_pool_bytes, self.total_bytes_freed)?;
        write!(f, "{} hits, {} misses, ", self.cache_hits, self.cache_misses)?;
        match self.hit_rate() {
            Some(rate) => write!(f, "hit rate {:.1} %", rate * 100.0),
            None => f.write_str("hit rate not measured"),
        }
    }
}

/// A pool of tensors. Clones share it.
#[derive(Clone)]
pub struct BufferPool(Arc<Shared>);

struct Shared {
    shelf: Mutex<Shelf>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BufferPool").field(&self.stats()).finish()
    }
}

impl BufferPool {
    /// An empty pool.
    #[must_use]
    pub fn new(options: BufferPoolOptions, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Shared { shelf: Mutex::new(Shelf::new(options)), clock }))
    }

    /// A tensor of `shape` and `dtype` with `contents`: one that is kept, or a new one, which is zeros either way.
    ///
    /// # Errors
    /// A shape that no tensor can have.
    pub fn acquire(&self, shape: &[usize], dtype: DType, contents: Contents) -> Result<PooledTensor, TensorError> {
        let key = Key { dtype, shape: shape.to_vec() };
        let now = self.0.clock.now();
        let (stale, found) = {
            let mut shelf = self.0.lock();
            (shelf.purge(now), shelf.take(&key))
        };
        drop(stale);
        let is_reused = found.is_some();
        let tensor = match (found, contents) {
            (Some(tensor), Contents::Leftover) => tensor,
            (Some(mut tensor), Contents::Zeroed) => {
                zero(tensor.data_mut());
                tensor
            }
            (None, Contents::Leftover | Contents::Zeroed) => {
                let tensor = Tensor::zeros(key.shape.clone(), dtype)?;
                self.0.lock().note_allocation();
                tensor
            }
        };
        Ok(PooledTensor { tensor: Some(tensor), key: Some(key), is_reused, pool: Arc::clone(&self.0) })
    }

    /// Frees what was unused for longer than the time to live at `now`. Every call and every return does the same.
    pub fn purge(&self, now: Duration) {
        let stale = self.0.lock().purge(now);
        drop(stale);
    }

    /// Frees everything that is kept.
    pub fn clear(&self) {
        let freed = self.0.lock().clear();
        drop(freed);
    }

    /// What the pool did and keeps.
    #[must_use]
    pub fn stats(&self) -> BufferStats {
        self.0.lock().stats()
    }

    /// [`BufferPool::stats`] as one line.
    #[must_use]
    pub fn summary(&self) -> String {
        self.stats().to_string()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn zero(data: &mut TensorData) {
    match data {
        TensorData::F32(values) => values.fill(0.0),
        TensorData::F64(values) => values.fill(0.0),
        TensorData::F16(bits) | TensorData::Bf16(bits) => bits.fill(0),
        TensorData::I64(values) => values.fill(0),
        TensorData::I32(values) => values.fill(0),
        TensorData::I16(values) => values.fill(0),
        TensorData::I8(values) => values.fill(0),
        TensorData::U64(values) => values.fill(0),
        TensorData::U32(values) => values.fill(0),
        TensorData::U16(values) => values.fill(0),
        TensorData::U8(values) => values.fill(0),
        TensorData::Bool(values) => values.fill(false),
        TensorData::Str(values) => values.iter_mut().for_each(String::clear),
    }
}

/// A tensor that returns to its pool when it is dropped.
pub struct PooledTensor {
    /// `None` only once it was taken out.
    tensor: Option<Tensor>,
    key: Option<Key>,
    is_reused: bool,
    pool: Arc<Shared>,
}

impl PooledTensor {
    /// Whether the pool had kept it.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// Whether `tensor` could return in its place: one of the same type, shape and number of elements.
    #[must_use]
    pub fn takes(&self, tensor: &Tensor) -> bool {
        self.key.as_ref().is_some_and(|key| is_one_of(key, tensor))
    }

    /// Takes the tensor out of the pool for good.
    #[must_use]
    pub fn into_tensor(mut self) -> Tensor {
        self.tensor.take().expect("it is there until it is taken out or dropped")
    }
}

fn is_one_of(key: &Key, tensor: &Tensor) -> bool {
    let n_elements = ballast_backend::element_count(&key.shape);
    tensor.dtype() == key.dtype && tensor.shape() == key.shape && n_elements == Some(tensor.data().len())
}

impl fmt::Debug for PooledTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledTensor").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Deref for PooledTensor {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        self.tensor.as_ref().expect("it is there until it is taken out or dropped")
    }
}

impl DerefMut for PooledTensor {
    fn deref_mut(&mut self) -> &mut Tensor {
        self.tensor.as_mut().expect("it is there until it is taken out or dropped")
    }
}

impl Drop for PooledTensor {
    fn drop(&mut self) {
        let (Some(tensor), Some(key)) = (self.tensor.take(), self.key.take()) else { return };
        // Whoever replaced the tensor, or its elements by another number of them, changed what it is.
        if !is_one_of(&key, &tensor) {
            return;
        }
        let now = self.pool.clock.now();
        let freed = {
            let mut shelf = self.pool.lock();
            let stale = shelf.purge(now);
            (stale, shelf.put(key, tensor, now))
        };
        drop(freed);
    }
}

/// Shared between threads.
const _: fn() = || {
    fn crosses<T: Send + Sync>() {}
    crosses::<BufferPool>();
    crosses::<PooledTensor>();
};
