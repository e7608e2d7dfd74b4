#include <algorithm>
#include <cstddef>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <nibble/compute/executor.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>
#include <nibble/file/path_text.hpp>
#include <nibble/reader.hpp>

#include <nibble/compute/thread_pool.hpp>

#include "command.hpp"
#include "open_input.hpp"
#include "progress_bar.hpp"
#include "schema_version.hpp"
#include "sha256.hpp"
#include "standard_streams.hpp"
#include "text_file.hpp"
#include "text_layout.hpp"

namespace nibble_command {
namespace {

/// What a line is about, and its digest: "HEX  tensor NAME", "HEX  file NAME".
struct hashed {
  std::string_view kind;  ///< "tensor" or "file"
  std::string name;       ///< escaped
  std::span<const std::byte> bytes;
  std::string digest{};

  [[nodiscard]] std::string subject() const { return fmt::format("{} {}", kind, name); }
  [[nodiscard]] std::string line() const { return fmt::format("{}  {}\n", digest, subject()); }
};

/// Every tensor's stored bytes, and all of every file.
std::vector<hashed> subjects_of(const nibble::reader& file, bool tensors_only) {
  std::vector<hashed> subjects;
  for (const nibble::tensor_view& tensor : file) {
    subjects.push_back({"tensor", nibble::escape_text(tensor.name()), tensor.bytes()});
  }
  if (tensors_only) return subjects;
  const auto add_file = [&](const nibble::reader& one) {
    const std::string name = nibble::text_of_path(nibble::path_of_text(one.name()).filename());
    subjects.push_back({"file", nibble::escape_text(name), one.bytes()});
  };
  if (file.shards().empty()) add_file(file);
  for (const nibble::reader& shard : file.shards()) add_file(shard);
  return subjects;
}

/// The lines of a list, by what they are about. Throws bad_metadata for lines that are none.
std::map<std::string, std::string> read_list(const std::string& path) {
  constexpr std::size_t digest_digits = 64;
  constexpr std::string_view between = "  ";
  std::map<std::string, std::string> digests;
  const std::string text = read_text(path);
  std::size_t number = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = std::string_view(text).substr(at, end - at);
    at = end + 1;
    ++number;
    if (line.empty()) continue;
    const std::string_view digest = line.substr(0, digest_digits);
    const std::string_view rest = line.substr(digest.size());
    const bool is_line = digest.size() == digest_digits &&
                         digest.find_first_not_of("0123456789abcdef") == std::string_view::npos &&
                         rest.starts_with(between) && rest.size() > between.size();
    if (!is_line) {
      throw nibble::error(nibble::error_code::bad_metadata,
                          {.file = path,
                           .field = fmt::format("line {}", number),
                           .found = std::string(line),
                           .expected = "64 hexadecimal digits, two spaces and a subject"});
    }
    digests[std::string(rest.substr(between.size()))] = digest;
  }
  return digests;
}

/// A way in which a file is not as listed, or may look so.
struct difference {
  std::string_view kind;  ///< "missing", "differs", "not listed", "renamed"
  std::string subject;
  std::string listed_as{};  ///< of a file that is there under another name: what the list calls it

  [[nodiscard]] bool is_harmless() const { return kind == "renamed"; }
  [[nodiscard]] std::string line() const {
    if (is_harmless()) return fmt::format("{}: the same bytes as listed for {}\n", subject, listed_as);
    return fmt::format("{}: {}\n", kind, subject);
  }
};

/// Holds subjects against a list. A file whose bytes are listed under another name is renamed, which
/// changes no byte.
std::vector<difference> compare(const std::vector<hashed>& subjects,
                                const std::map<std::string, std::string>& listed) {
  std::vector<difference> differences;
  std::map<std::string, std::string> found;
  for (const hashed& each : subjects) found[each.subject()] = each.digest;
  std::multimap<std::string, std::string> missing_files;  // by digest
  std::set<std::string> renamed;
  for (const auto& [subject, digest] : listed) {
    if (subject.starts_with("file ") && !found.contains(subject))
      missing_files.emplace(digest, subject);
  }
  std::vector<difference> not_listed;
  for (const auto& [subject, digest] : found) {
    if (listed.contains(subject)) continue;
    const auto twin = subject.starts_with("file ") ? missing_files.find(digest) : missing_files.end();
    if (twin == missing_files.end()) {
      not_listed.push_back({"not listed", subject});
    } else {
      renamed.insert(twin->second);
      not_listed.push_back({"renamed", subject, twin->second});
      missing_files.erase(twin);
    }
  }
  for (const auto& [subject, digest] : listed) {
    const auto at = found.find(subject);
    if (at == found.end()) {
      if (!renamed.contains(subject)) differences.push_back({"missing", subject});
    } else if (at->second != digest) {
      differences.push_back({"differs", subject});
    }
  }
  differences.insert(differences.end(), not_listed.begin(), not_listed.end());
  return differences;
}

nlohmann::json to_json(const nibble::reader& file, const std::vector<hashed>& subjects) {
  using nlohmann::json;
  json list = json::array();
  for (const hashed& each : subjects) {
    list.push_back({{"kind", each.kind}, {"name", each.name}, {"sha256", each.digest}});
  }
  return {
      {"file", file.name()}, {"hashes", std::move(list)}, {"ok", nullptr}, {"differences", nullptr}};
}

}  // namespace

exit_code hash(const hash_options& options) {
  const nibble::reader file = open_files(options.input, options.single);
  std::map<std::string, std::string> listed;
  if (options.list) listed = read_list(*options.list);
  if (options.tensors_only) {
    std::erase_if(listed, [](const auto& line) { return line.first.starts_with("file "); });
  }
  std::vector<hashed> subjects = subjects_of(file, options.tensors_only);
  {
    nibble::thread_pool on(options.threads);
    progress_bar bar;
    watched_executor watched(on, bar, file.name(), file.file_bytes());
    // Whole files last in the list and longest at work: they are begun first.
    nibble::run_tasks(&watched, subjects.size(), [&](std::size_t task) {
      hashed& subject = subjects[subjects.size() - 1 - task];
      subject.digest = sha256_text(subject.bytes);
    });
  }
  nlohmann::json object = options.json ? to_json(file, subjects) : nlohmann::json();
  std::string text;
  bool is_fine = true;
  if (options.list) {
    const std::vector<difference> differences = compare(subjects, listed);
    is_fine = std::ranges::all_of(differences, &difference::is_harmless);
    object["ok"] = is_fine;
    object["differences"] = nlohmann::json::array();
    for (const difference& each : differences) {
      text += each.line();
      object["differences"].push_back(
          {{"kind", each.kind},
           {"subject", each.subject},
           {"listed_as",
            each.listed_as.empty() ? nlohmann::json(nullptr) : nlohmann::json(each.listed_as)}});
    }
    text += fmt::format("{}: {}\n", nibble::escape_text(file.name()),
                        is_fine ? "as listed" : "not as listed");
  } else {
    for (const hashed& each : subjects) text += each.line();
  }
  if (options.json) {
    print_json(schema_version::hash, object);
  } else {
    print_out(text);
  }
  return is_fine ? exit_code::fine : exit_code::answer_is_no;
}

}  // namespace nibble_command
