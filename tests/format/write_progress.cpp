#include <nibble/format/write_progress.hpp>

#include <string>
#include <vector>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>

using nibble::progress_report;
using nibble::write_progress;

TEST_CASE("progress is reported as a sum, with the tensor it is of", "[write_progress]") {
  std::vector<std::string> calls;
  const progress_report::callback_type note = [&](const write_progress& progress) {
    calls.push_back(std::to_string(progress.written_bytes) + "/" +
                    std::to_string(progress.total_bytes) + " " + std::string(progress.tensor));
    return true;
  };
  progress_report report(note, 10);
  report.add(0, "a");
  report.add(3, "a");
  report.add(7, "b");
  CHECK(calls == std::vector<std::string>{"0/10 a", "3/10 a", "10/10 b"});
}

TEST_CASE("a callback that returned false is not asked again, and every report throws",
          "[write_progress]") {
  int calls = 0;
  const progress_report::callback_type refuse = [&](const write_progress&) { return ++calls < 2; };
  progress_report report(refuse, 10);
  report.add(1, "a");
  for (int turn = 0; turn < 3; ++turn) {
    const auto result = nibble_test::outcome_of([&] { report.add(1, "a"); });
    CHECK(result.code == "cancelled");
    CHECK(
        nibble_test::missing_parts(result.message, {"progress callback", "the callback returned false"})
            .empty());
  }
  CHECK(calls == 2);
}

TEST_CASE("without a callback nothing is reported", "[write_progress]") {
  const progress_report::callback_type none;
  progress_report report(none, 1);
  CHECK_NOTHROW(report.add(100, "a"));
}
