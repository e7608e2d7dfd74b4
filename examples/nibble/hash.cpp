#include <algorithm>
#include <cstddef>
#include <map>
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
#include <nibble/file/input_file.hpp>
#include <nibble/file/path_text.hpp>
#include <nibble/reader.hpp>

#include <nibble/compute/thread_pool.hpp>

#include "command.hpp"
#include "metadata.hpp"
#include "open_input.hpp"
#include "progress_bar.hpp"
#include "sha256.hpp"
#include "standard_streams.hpp"
#include "text_layout.hpp"

namespace nibble_command {
namespace {

/// What a line is about, and its digest: "HEX  tensor NAME", "HEX  file NAME".
struct hashed {
  std::string subject;
  std::span<const std::byte> bytes;
  std::string digest{};

  [[nodiscard]] std::string line() const { return fmt::format("{}  {}\n", digest, subject); }
};

/// Every tensor's stored bytes, and all of every file.
std::vector<hashed> subjects_of(const nibble::reader& file,
                                const std::vector<nibble::input_file>& files) {
  std::vector<hashed> subjects;
  for (const nibble::tensor_view& tensor : file) {
    subjects.push_back({"tensor " + nibble::escape_text(tensor.name()), tensor.bytes()});
  }
  const auto add_file = [&](const std::string& path, const nibble::input_file& bytes) {
    const std::string name = nibble::text_of_path(nibble::path_of_text(path).filename());
    subjects.push_back({"file " + nibble::escape_text(name), bytes.bytes()});
  };
  if (file.shards().empty()) {
    add_file(file.name(), files.front());
  } else {
    for (std::size_t i = 0; i < files.size(); ++i) add_file(file.shards()[i].name(), files[i]);
  }
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

/// Says what of `listed` is not so; an empty text where all is.
std::string compare(const std::vector<hashed>& subjects,
                    const std::map<std::string, std::string>& listed) {
  std::string text;
  std::map<std::string, std::string> found;
  for (const hashed& each : subjects) found[each.subject] = each.digest;
  for (const auto& [subject, digest] : listed) {
    const auto at = found.find(subject);
    if (at == found.end()) {
      text += fmt::format("missing: {}\n", subject);
    } else if (at->second != digest) {
      text += fmt::format("differs: {}\n", subject);
    }
  }
  for (const auto& [subject, digest] : found) {
    if (!listed.contains(subject)) text += fmt::format("not listed: {}\n", subject);
  }
  return text;
}

}  // namespace

exit_code hash(const hash_options& options) {
  const nibble::reader file = open_input(options.input, options.single);
  std::map<std::string, std::string> listed;
  if (options.list) listed = read_list(*options.list);
  std::vector<nibble::input_file> files;
  if (file.shards().empty()) files.emplace_back(file.name(), nibble::file_access::mapped);
  for (const nibble::reader& shard : file.shards()) {
    files.emplace_back(shard.name(), nibble::file_access::mapped);
  }
  std::vector<hashed> subjects = subjects_of(file, files);
  {
    nibble::thread_pool on(options.threads);
    progress_bar bar;
    watched_executor watched(on, bar, file.name());
    // Whole files last in the list and longest at work: they are begun first.
    nibble::run_tasks(&watched, subjects.size(), [&](std::size_t task) {
      hashed& subject = subjects[subjects.size() - 1 - task];
      subject.digest = sha256_text(subject.bytes);
    });
  }
  if (!options.list) {
    std::string text;
    for (const hashed& each : subjects) text += each.line();
    print_out(text);
    return exit_code::fine;
  }
  const std::string differences = compare(subjects, listed);
  print_out(differences + fmt::format("{}: {}\n", nibble::escape_text(file.name()),
                                      differences.empty() ? "as listed" : "not as listed"));
  return differences.empty() ? exit_code::fine : exit_code::answer_is_no;
}

}  // namespace nibble_command
