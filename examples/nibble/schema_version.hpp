#pragma once

/// The versions of what the subcommands print with --json, as README describes it. Each counts up when a
/// field goes or changes its meaning; new fields may come without that.
namespace nibble_command::schema_version {

inline constexpr unsigned inspect = 1;
inline constexpr unsigned summary = 1;  ///< of inspect --summary
inline constexpr unsigned show = 1;
inline constexpr unsigned verify = 1;
inline constexpr unsigned diff = 1;
inline constexpr unsigned hash = 1;
inline constexpr unsigned meta = 1;
inline constexpr unsigned bench = 1;
inline constexpr unsigned importance = 1;
inline constexpr unsigned report = 1;  ///< and of the data in its page
inline constexpr unsigned write = 1;   ///< of pack, convert, unpack, split and merge
inline constexpr unsigned plan = 1;    ///< of pack --dry-run

}  // namespace nibble_command::schema_version
