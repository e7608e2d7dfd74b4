#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>
#include <nibble/file/path_text.hpp>
#include <nibble/file/system_calls.hpp>
#include <nibble/file/system_error.hpp>

namespace nibble {

/// A file that appears under its name whole or not at all.
///
/// Bytes go to the partial file, PATH.nibble-partial, which is locked (flock) while it is written.
/// commit() syncs it, renames it over PATH and syncs the directory; a destructor without commit() removes
/// it. A process that is killed leaves it behind as a leftover, and the next write to PATH removes it,
/// before it asks for room of its own; one that is locked belongs to a live writer and stays. Where PATH
/// is a symbolic link, the file that it points to is replaced; an existing file's permissions are kept.
class atomic_file {
 public:
  /// What the partial file's name has behind the file's.
  static constexpr const char* partial_suffix = ".nibble-partial";

  /// Creates the partial file with room for size_bytes. Throws write_failed (with the system's reason:
  /// a disk without room is found here where the file system can tell), already_being_written.
  atomic_file(const std::string& path, std::uint64_t size_bytes)
      : path_(path), target_(system_calls::replaced_path(path)), partial_(target_ + partial_suffix) {
    acquire();
    try {
      prepare(size_bytes);
    } catch (...) {
      discard();
      throw;
    }
  }
  atomic_file(const atomic_file&) = delete;
  atomic_file& operator=(const atomic_file&) = delete;
  ~atomic_file() {
    if (!committed_) discard();
  }

  /// Removes what killed writers left in a directory (empty: the working one) of files that `is_meant`
  /// says, given their names, whether they are there or not; of those that are symbolic links, beside
  /// what they point to. Nothing else is touched, and what cannot be told to be left behind or cannot
  /// be removed stays: a file that a live writer has locked, or where nothing can be locked.
  template <std::predicate<const std::string&> Meant>
  static void remove_leftovers(const std::filesystem::path& folder, const Meant& is_meant) {
    system_calls::for_each_name(folder, [&](std::string name, const auto& is_link) {
      const std::string path = text_of_path(folder / path_of_text(name));
      if (name.ends_with(partial_suffix)) {
        name.resize(name.size() - std::string_view(partial_suffix).size());
        if (is_meant(name)) remove_if_left(path);
      } else if (is_link() && is_meant(name)) {
        try {
          remove_if_left(system_calls::replaced_path(path) + partial_suffix);
        } catch (const error&) {  // it leads to no file that could be written
        }
      }
    });
  }

  /// Writes bytes at an offset; any thread, any order. Throws write_failed.
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const transfer written = system_calls::write_at(file_, offset, bytes);
      if (written.reason != 0) fail({.call = "write", .reason = written.reason});
      if (written.count_bytes == 0) fail({.call = "write", .reason = system_calls::no_progress});
      bytes = bytes.subspan(written.count_bytes);
      offset += written.count_bytes;
    }
  }

  /// Makes the file durable and visible under its name. Throws write_failed; unless it was the
  /// directory's sync that failed, the old file is then untouched.
  void commit() {
    sync();
    publish();
  }

  /// Makes several files of one directory durable, then visible under their names. As no file system
  /// renames several files at once, the first one's old file goes before any other is renamed, and its
  /// new one comes last: whoever finds the first file finds the others, all old or all new. A kill or a
  /// failure in between leaves a set without its first file; one before leaves the old files untouched.
  /// Throws write_failed.
  static void commit_set(std::span<atomic_file* const> files) {
    for (atomic_file* const file : files) file->sync();
    if (files.size() > 1) files.front()->withdraw_target();
    for (atomic_file* const file : files.subspan(std::min<std::size_t>(files.size(), 1)))
      file->publish();
    if (!files.empty()) files.front()->publish();
  }

 private:
  void sync() {
    require(permissions_.restore(file_));
    require(system_calls::sync(file_));
  }

  void publish() {
    // Without locks another writer may have taken this file for a leftover and put its own there.
    if (!is_named(file_)) fail_for_another_file();
    require(system_calls::rename(file_, partial_, target_));
    committed_ = true;
    require(system_calls::sync_names(file_, target_));
    file_ = system_calls::file_handle();
  }

  void withdraw_target() {
    if (const int reason = system_calls::remove(target_)) {
      if (system_calls::means_not_found(reason)) return;
      fail({.call = "removal of the old file", .reason = reason});
    }
    require(system_calls::sync_names({}, target_));
  }

  [[noreturn]] void fail(const system_failure& failure) const {
    throw_system_error(error_code::write_failed, path_, failure);
  }
  [[noreturn]] void fail_for_another_file() const {
    throw error(error_code::write_failed, {.file = path_,
                                           .field = partial_,
                                           .found = "another file or none",
                                           .expected = "the one that this writer made"});
  }
  void require(const system_failure& failure) const {
    if (failure) fail(failure);
  }

  /// Creates the partial file and locks it. One that is there already belongs to a live writer, who
  /// holds its lock, or was left behind, and then goes.
  void acquire() {
    // Others may take it away or be in its place a few times, and not for ever.
    constexpr int max_attempts = 100;
    for (int attempt = 0; attempt < max_attempts; ++attempt) {
      system_calls::file_handle created = system_calls::create_new(partial_);
      if (!created.is_open()) {
        const int reason = system_calls::last_reason();
        if (!system_calls::means_name_is_taken(reason)) fail_to_open_partial(reason);
        remove_leftover();
        continue;
      }
      try {
        lock(created);
        if (!is_named(created)) continue;
      } catch (const error& refusal) {
        // Whoever holds the lock of a file that was made just now removes it as a leftover.
        if (refusal.code() != error_code::already_being_written) {
          static_cast<void>(system_calls::remove(partial_));
        }
        throw;
      }
      file_ = std::move(created);
      return;
    }
    fail_for_another_file();
  }

  [[noreturn]] void fail_to_open_partial(int reason) const {
    fail({.call = join_text({"open of ", partial_}), .reason = reason});
  }

  static void remove_if_left(const std::string& partial) {
    if (!system_calls::is_regular_file(partial)) return;
    const system_calls::file_handle leftover = system_calls::open_leftover(partial);
    if (!leftover.is_open() || system_calls::try_lock(leftover)) return;
    if (system_calls::is_name_of(partial, leftover).value_or(false)) {
      static_cast<void>(system_calls::remove(partial));
    }
  }

  void remove_leftover() {
    const system_calls::file_handle leftover = system_calls::open_leftover(partial_);
    if (!leftover.is_open()) {
      const int reason = system_calls::last_reason();
      if (system_calls::means_not_found(reason)) return;
      fail_to_open_partial(reason);
    }
    lock(leftover);
    if (!is_named(leftover)) return;
    const int reason = system_calls::remove(partial_);
    if (reason != 0 && !system_calls::means_not_found(reason)) {
      fail({.call = join_text({"removal of ", partial_}), .reason = reason});
    }
  }

  /// Throws already_being_written. A file system without locks has none to be held.
  void lock(const system_calls::file_handle& file) const {
    const system_failure failure = system_calls::try_lock(file);
    if (!failure || system_calls::means_no_locks(failure.reason)) return;
    if (!system_calls::means_locked(failure.reason)) fail(failure);
    throw error(error_code::already_being_written, {.file = path_,
                                                    .field = partial_,
                                                    .found = "a lock held by another writer",
                                                    .expected = "one writer to a path at a time"});
  }

  /// Whether the partial name still means this file: between open and lock its owner may have renamed
  /// or removed it, or another writer taken it for a leftover. Throws write_failed where the system
  /// does not say.
  [[nodiscard]] bool is_named(const system_calls::file_handle& file) const {
    const std::optional<bool> answer = system_calls::is_name_of(partial_, file);
    if (!answer) fail({.call = "stat", .reason = system_calls::last_reason()});
    return *answer;
  }

  void prepare(std::uint64_t size_bytes) {
    if (size_bytes > system_calls::max_file_bytes) {
      fail({.call = "file size", .reason = system_calls::too_large});
    }
    require(permissions_.restrict_file(file_, partial_, target_));
    require(system_calls::reserve(file_, size_bytes));
  }

  /// While the lock is still held, so that only this writer's own file can go.
  void discard() noexcept {
    if (file_.is_open() && system_calls::is_name_of(partial_, file_).value_or(false)) {
      static_cast<void>(system_calls::remove(partial_));
    }
    file_ = system_calls::file_handle();
  }

  std::string path_;
  std::string target_;
  std::string partial_;
  system_calls::file_handle file_;
  system_calls::kept_permissions permissions_;
  bool committed_ = false;
};

}  // namespace nibble
