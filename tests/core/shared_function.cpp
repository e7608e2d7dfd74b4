#include <nibble/core/shared_function.hpp>

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <support/catch.hpp>

namespace {

using nibble::shared_function;
using summing = shared_function<int(int, int)>;

int sum_of(int a, int b) { return a + b; }
long sum_of_long(long a, long b) { return a + b; }

TEST_CASE("a shared function calls lambdas, pointers to functions and wrappers of them",
          "[shared_function]") {
  int calls = 0;
  CHECK(summing([&calls](int a, int b) { return a + b + 100 * ++calls; })(3, 4) == 107);
  CHECK(calls == 1);
  CHECK(summing(sum_of)(3, 4) == 7);
  CHECK(summing(&sum_of)(3, 4) == 7);
  CHECK(summing(std::function<int(int, int)>(sum_of))(3, 4) == 7);
  CHECK(summing(shared_function<int(long, long)>(
            [](long a, long b) { return static_cast<int>(sum_of_long(a, b)); }))(3, 4) == 7);
  const summing assigned = sum_of;
  CHECK(assigned(3, 4) == 7);
}

TEST_CASE("an argument is passed on as it was given, and a result that nobody asks for is dropped",
          "[shared_function]") {
  std::string text = "before";
  const shared_function<void(std::string&)> change = [](std::string& in) {
    in = "after";
    return 3;
  };
  change(text);
  CHECK(text == "after");

  const shared_function<std::unique_ptr<int>(std::unique_ptr<int>)> pass =
      [](std::unique_ptr<int> given) { return given; };
  CHECK(*pass(std::make_unique<int>(5)) == 5);
}

TEST_CASE("a shared function of nothing says so", "[shared_function]") {
  CHECK_FALSE(summing());
  CHECK_FALSE(summing(nullptr));
  CHECK(summing() == nullptr);
  CHECK_FALSE(summing(static_cast<int (*)(int, int)>(nullptr)));
  CHECK_FALSE(summing(std::function<int(int, int)>()));
  CHECK_FALSE(summing(shared_function<long(long, long)>()));
  CHECK(summing(sum_of));
  CHECK_FALSE(summing(sum_of) == nullptr);
}

TEST_CASE("copies of a shared function are the same object, which lives as long as the last of them",
          "[shared_function]") {
  const auto held = std::make_shared<int>(0);
  shared_function<int()> first = [held, count = 0]() mutable { return ++count + *held; };
  CHECK(held.use_count() == 2);
  const shared_function<int()> second = first;
  CHECK(held.use_count() == 2);
  CHECK(first() == 1);
  CHECK(second() == 2);
  const shared_function<int()> third = std::move(first);
  first = {};
  CHECK(third() == 3);
  CHECK(held.use_count() == 2);
  first = third;
  const shared_function<int()> fourth = std::move(first);
  CHECK_FALSE(first);  // NOLINT: what is left is nothing to call
  CHECK(first == nullptr);
  CHECK(fourth() == 4);
}

TEST_CASE("what a shared function's function throws reaches the caller", "[shared_function]") {
  const shared_function<void()> throwing = [] { throw std::runtime_error("thrown"); };
  CHECK_THROWS_WITH(throwing(), "thrown");
}

TEST_CASE("calling a shared function of nothing is refused", "[shared_function]") {
  const auto code_of = [](const shared_function<void()>& function) {
    try {
      function();
    } catch (const nibble::error& caught) {
      return caught.code();
    }
    return nibble::error_code{};
  };
  CHECK(code_of({}) == nibble::error_code::invalid_argument);
  CHECK(code_of(nullptr) == nibble::error_code::invalid_argument);
}

}  // namespace
