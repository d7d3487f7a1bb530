//! The allocator of the process: mimalloc.
//!
//! Its crate asks for every block by `mi_malloc_aligned`. That has a fast way only as long as the
//! newest page of the block's size has room; where that is full, blocks whose size is no power of
//! two (48 bytes, 80) are cut from larger ones, each time from then on. What needs no more than
//! the usual alignment comes from `mi_malloc` here, as the system's allocator of Rust's own
//! library does it with `malloc`.
#![expect(unsafe_code, reason = "an allocator; what it promises stands at each call")]

use std::{
    alloc::{GlobalAlloc, Layout},
    ffi::c_void,
};

use libmimalloc_sys as mi;

/// The alignment of all blocks that are at least so large (`MI_MAX_ALIGN_SIZE`).
const ALIGNED: usize = 16;

/// See the top of this file.
pub(crate) struct Allocator;

/// Whether any block of this size is aligned well enough.
fn is_usual(size: usize, align: usize) -> bool {
    align <= ALIGNED && align <= size
}

// SAFETY: mimalloc keeps the contract: blocks of the size, aligned as asked for, null if there is
// no memory. Each function of it takes any block that another has given.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: any size and any power of two may be asked for.
        unsafe {
            if is_usual(size, align) {
                mi::mi_malloc(size)
            } else {
                mi::mi_malloc_aligned(size, align)
            }
            .cast()
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: as in `alloc`.
        unsafe {
            if is_usual(size, align) {
                mi::mi_zalloc(size)
            } else {
                mi::mi_zalloc_aligned(size, align)
            }
            .cast()
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the caller's block is one of ours.
        unsafe { mi::mi_free(block.cast()) };
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (block, align): (*mut c_void, usize) = (block.cast(), layout.align());
        // SAFETY: the caller's block is one of ours; the rest as in `alloc`.
        unsafe {
            if is_usual(size, align) {
                mi::mi_realloc(block, size)
            } else {
                mi::mi_realloc_aligned(block, size, align)
            }
            .cast()
        }
    }
}

/// Has what is free go back to the operating system. By itself mimalloc does that only when
/// something else is freed later: after a large configuration, an idle node would keep twice what
/// it needs. Other threads may allocate meanwhile.
pub(crate) fn give_back() {
    // SAFETY: it takes a switch, touches no memory but the allocator's own, and may be called on
    // any thread.
    unsafe { mi::mi_collect(true) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes, fills, grows, shrinks and gives back blocks of a layout; all must be aligned and
    /// keep what is in them.
    fn check(size: usize, align: usize) {
        let layout = Layout::from_size_align(size, align).expect("a layout");
        // SAFETY: the blocks are used within their sizes, and given back once.
        unsafe {
            let blocks: Vec<*mut u8> = (0..300).map(|_| Allocator.alloc(layout)).collect();
            for block in blocks {
                assert!(!block.is_null() && block.addr().is_multiple_of(align), "{size} {align}");
                block.write_bytes(0x5a, size);
                let grown = Allocator.realloc(block, layout, size * 3);
                assert!(grown.addr().is_multiple_of(align), "{size} {align}");
                assert!((0..size).all(|at| *grown.add(at) == 0x5a), "{size} {align}");
                let layout = Layout::from_size_align(size * 3, align).expect("a layout");
                let shrunk = Allocator.realloc(grown, layout, size);
                assert!(shrunk.addr().is_multiple_of(align), "{size} {align}");
                Allocator.dealloc(shrunk, Layout::from_size_align(size, align).expect("a layout"));
            }
            let zeroed = Allocator.alloc_zeroed(layout);
            assert!(zeroed.addr().is_multiple_of(align), "{size} {align}");
            assert!((0..size).all(|at| *zeroed.add(at) == 0), "{size} {align}");
            Allocator.dealloc(zeroed, layout);
        }
    }

    #[test]
    fn blocks_are_aligned_and_keep_what_is_in_them() {
        for align in [1, 2, 4, 8, 16, 32, 64, 4096] {
            for size in [1, 3, 8, 12, 16, 17, 24, 40, 48, 56, 80, 100, 112, 1000, 5000, 100_000] {
                check(size, align);
            }
        }
    }

    #[test]
    fn what_is_in_use_stays_when_memory_goes_back() {
        let mut lists: Vec<Vec<u8>> = (0..20_000).map(|n| vec![(n % 251) as u8; 1_000]).collect();
        let kept = lists.split_off(19_900);
        drop(lists);
        give_back();
        let right = |(n, list): (usize, &Vec<u8>)| list.iter().all(|b| *b == (n % 251) as u8);
        assert!((19_900..).zip(&kept).all(right));
    }
}
