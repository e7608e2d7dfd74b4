#pragma once

/// What file/ asks of the operating system, one file a system. Each offers the same names in
/// nibble::system_calls; what is built on them (input_file, file_source, atomic_file) is written once.
///
/// file_handle: an open file, closed with its owner, with is_open().
/// file_status: size in bytes, and whether it is a regular file, a directory or something special.
/// transfer: how many bytes a call has read or written, or the reason why none.
///
/// Reasons are the system's own numbers, 0 where a call succeeded. Paths are UTF-8 (on POSIX systems:
/// any bytes). Calls that a signal interrupts are made again. Nothing throws but replaced_path and, for
/// want of memory, whatever makes a string.
#if defined(_WIN32)
#include <nibble/file/windows/system_calls.hpp>
#else
#include <nibble/file/posix/system_calls.hpp>
#endif
