#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <nibble/core/nearest_names.hpp>
#include <nibble/core/text.hpp>

#include "exit_code.hpp"
#include "option_values.hpp"

namespace nibble_command {

/// "--output" of an option, "INPUT" of a positional.
[[nodiscard]] inline std::string name_of(const CLI::Option& option) {
  if (!option.get_lnames().empty()) return "--" + option.get_lnames().front();
  if (!option.get_snames().empty()) return "-" + option.get_snames().front();
  return option.get_name(true);
}

/// Holds arguments against what the parser knows, and throws usage_error for what is wrong, with the
/// nearest right thing. What passes is left to the parser: so none of its own messages is ever shown.
class arguments_check {
 public:
  /// `words` without the program's name.
  arguments_check(const CLI::App& app, std::span<const std::string> words)
      : parser_(app), words_(words) {}

  void run() {
    for (; at_ < words_.size(); ++at_) {
      const std::string& word = words_[at_];
      if (options_ended_ || word.size() < 2 || word[0] != '-') {
        take_positional(word);
      } else if (word == "--") {
        options_ended_ = true;
      } else if (word[1] == '-') {
        take_long(word);
      } else {
        take_short(word);
      }
      if (is_answered_) return;
    }
    if (parser_.get().get_parent() == nullptr) return;
    require_complete();
  }

 private:
  [[nodiscard]] const CLI::App& parser() const { return parser_.get(); }

  /// The subcommand in hand, or the whole command: "nibble pack", "nibble".
  [[nodiscard]] std::string called() const {
    const CLI::App* const parent = parser().get_parent();
    return parent == nullptr ? parser().get_name() : parent->get_name() + " " + parser().get_name();
  }
  [[nodiscard]] std::string pointer_to_help() const { return called() + " --help says more"; }

  [[nodiscard]] const CLI::Option* find(std::string_view name, bool is_long) const {
    for (const CLI::Option* const option : parser().get_options()) {
      const auto& names = is_long ? option->get_lnames() : option->get_snames();
      if (std::ranges::find(names, name) != names.end()) return option;
    }
    return nullptr;
  }

  [[noreturn]] void refuse_option(const std::string& word) const {
    std::vector<std::string> names;
    for (const CLI::Option* const option : parser().get_options()) {
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    }
    const std::string wanted = word.substr(0, word.find('='));
    std::vector<std::string> near;
    const std::string_view letters = std::string_view(wanted).substr(wanted.find_first_not_of('-'));
    for (const std::string& name : names) {
      const std::string_view bare = std::string_view(name).substr(2);
      const std::size_t distance = nibble::edit_distance(bare, letters);
      const bool shares_start = bare.starts_with(letters) || letters.starts_with(bare);
      if (shares_start || distance <= 1 + letters.size() / 4) near.push_back(name);
    }
    const bool is_near = !near.empty();
    throw usage_error(fmt::format("'{}' is no option of {}{} {}; {}", nibble::escape_text(wanted),
                                  called(), is_near ? ", the nearest is" : ", which has",
                                  list_choices(is_near ? near : names), pointer_to_help()));
  }

  /// Notes an option that is there, and skips its value where that is the next word.
  void take(const CLI::Option& option, std::optional<std::string_view> value) {
    if (name_of(option) == "--help" || name_of(option) == "--version") {
      is_answered_ = true;
      return;
    }
    const bool takes_value = option.get_items_expected_max() != 0;
    if (!takes_value) {
      if (value) throw usage_error(fmt::format("{} takes no value", name_of(option)));
      return;
    }
    const bool may_repeat = option.get_expected_max() > 1;
    if (!may_repeat && std::ranges::find(seen_, &option) != seen_.end()) {
      throw usage_error(fmt::format("{} is given twice", name_of(option)));
    }
    seen_.push_back(&option);
    if (may_repeat) last_repeated_ = &option;
    if (value) return;
    if (at_ + 1 == words_.size() || is_option(words_[at_ + 1])) {
      throw usage_error(fmt::format("{} needs a value, {}; {}", name_of(option), option.get_type_name(),
                                    pointer_to_help()));
    }
    ++at_;
  }

  /// Whether a word is an option that the parser knows, and so no value.
  [[nodiscard]] bool is_option(const std::string& word) const {
    if (word == "--") return true;
    if (word.starts_with("--")) return find(word.substr(2, word.find('=') - 2), true) != nullptr;
    return word.size() == 2 && word[0] == '-' && find(word.substr(1), false) != nullptr;
  }

  void take_long(const std::string& word) {
    const std::size_t mark = word.find('=');
    const CLI::Option* const option = find(word.substr(2, mark - 2), true);
    if (option == nullptr) refuse_option(word);
    take(*option, mark == std::string::npos ? std::nullopt
                                            : std::optional(std::string_view(word).substr(mark + 1)));
  }

  /// "-j", "-oFILE", "-jo FILE".
  void take_short(const std::string& word) {
    for (std::size_t i = 1; i < word.size(); ++i) {
      const CLI::Option* const option = find(word.substr(i, 1), false);
      if (option == nullptr) refuse_option(word);
      if (option->get_items_expected_max() != 0) {
        const std::string_view rest = std::string_view(word).substr(i + 1);
        take(*option, rest.empty() ? std::nullopt : std::optional(rest));
        return;
      }
      take(*option, std::nullopt);
      if (is_answered_) return;
    }
  }

  void take_positional(const std::string& word) {
    if (parser().get_parent() == nullptr) {
      for (const CLI::App* const each : parser().get_subcommands({})) {
        if (each->get_name() == word) {
          parser_ = *each;
          return;
        }
      }
      refuse_subcommand(word);
    }
    positionals_.push_back(word);
    const std::vector<const CLI::Option*> taken = positional_options();
    const bool may_be_many = !taken.empty() && taken.back()->get_items_expected_max() > 1;
    if (may_be_many || positionals_.size() <= taken.size()) return;
    std::string given;
    for (std::size_t i = 0; i < taken.size(); ++i) {
      given += fmt::format("{}{} ('{}')", i == 0 ? "" : " and ", name_of(*taken[i]),
                           nibble::escape_text(positionals_[i]));
    }
    std::string text = fmt::format("'{}' is one argument too many: {} takes {}",
                                   nibble::escape_text(word), called(), given.empty() ? "none" : given);
    if (last_repeated_ != nullptr) {
      const std::string name = name_of(*last_repeated_);
      text += fmt::format("; {} takes one {}, and is given again for each: {} A {} B", name,
                          last_repeated_->get_type_name(), name, name);
    }
    // What other programs take as an argument is an option here.
    for (const auto& [name, what] : {std::pair("prompt", "a prompt"), std::pair("text", "a text")}) {
      if (find(name, true) != nullptr) text += fmt::format("; {} is given by --{}", what, name);
    }
    throw usage_error(text);
  }

  /// The subcommand that does what other programs, or people, call so; nothing where there is none.
  [[nodiscard]] static std::string_view meant_by(std::string_view word) {
    struct synonym {
      std::string_view word;
      std::string_view subcommand;
    };
    constexpr synonym synonyms[] = {
        {"quantize", "pack"}, {"compress", "pack"}, {"list", "inspect"},      {"info", "inspect"},
        {"ls", "inspect"},    {"check", "verify"},  {"test", "verify"},       {"validate", "verify"},
        {"compare", "diff"},  {"html", "report"},   {"dequantize", "unpack"}, {"cat", "show"},
        {"edit", "meta"},     {"metadata", "meta"}, {"measure", "bench"},     {"benchmark", "bench"},
        {"sha256", "hash"},   {"checksum", "hash"}, {"join", "merge"},        {"generate", "run"},
        {"ppl", "perplexity"}};
    for (const synonym& each : synonyms) {
      if (each.word == word) return each.subcommand;
    }
    return {};
  }

  [[noreturn]] void refuse_subcommand(const std::string& word) const {
    std::vector<std::string> names;
    for (const CLI::App* const each : parser().get_subcommands({})) names.push_back(each->get_name());
    const auto nearest = nibble::nearest_names(
        word, names.size(), [&](std::size_t i) { return std::string_view(names[i]); });
    const bool is_near = !nearest.empty() && nibble::edit_distance(nearest[0], word) <= 2;
    const std::string meant(!meant_by(word).empty() ? meant_by(word)
                            : is_near               ? std::string_view(nearest[0])
                                                    : std::string_view());
    throw usage_error(fmt::format("'{}' is no subcommand{}: {}", nibble::escape_text(word),
                                  meant.empty() ? "" : fmt::format(", '{}' is", meant),
                                  list_choices(names)));
  }

  [[nodiscard]] std::vector<const CLI::Option*> positional_options() const {
    std::vector<const CLI::Option*> list;
    for (const CLI::Option* const option : parser().get_options()) {
      if (option->get_positional()) list.push_back(option);
    }
    return list;
  }

  void require_complete() const {
    const auto taken = positional_options();
    for (std::size_t i = positionals_.size(); i < taken.size(); ++i) {
      if (!taken[i]->get_required()) continue;
      throw usage_error(
          fmt::format("{} needs {}; {}", called(), name_of(*taken[i]), pointer_to_help()));
    }
    for (const CLI::Option* const option : parser().get_options()) {
      if (option->get_positional() || !option->get_required()) continue;
      if (std::ranges::find(seen_, option) != seen_.end()) continue;
      throw usage_error(fmt::format("{} needs {} {}; {}", called(), name_of(*option),
                                    option->get_type_name(), pointer_to_help()));
    }
  }

  std::reference_wrapper<const CLI::App> parser_;
  std::span<const std::string> words_;
  std::size_t at_ = 0;
  bool options_ended_ = false;
  bool is_answered_ = false;  ///< by help or version, whatever else is there
  std::vector<std::string> positionals_;
  std::vector<const CLI::Option*> seen_;
  const CLI::Option* last_repeated_ = nullptr;
};

}  // namespace nibble_command
