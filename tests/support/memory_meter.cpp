#include <support/memory_meter.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include <support/catch.hpp>

namespace {

// Of this thread, less than nothing where it frees what others made.
thread_local std::int64_t live = 0;
thread_local std::int64_t peak = 0;
thread_local std::uint64_t total = 0;

#if !NIBBLE_TEST_IS_SANITIZED

/// Bytes before what is handed out, where its size is kept.
std::size_t room_for_size(std::size_t alignment) {
  return alignment < alignof(std::max_align_t) ? alignof(std::max_align_t) : alignment;
}

void* allocate(std::size_t size, std::size_t alignment) noexcept {
  const std::size_t room = room_for_size(alignment);
  const std::size_t whole = (room + size + room - 1) / room * room;
  if (whole < size) return nullptr;
  const bool is_plain = room == alignof(std::max_align_t);
  auto* const start =
      static_cast<std::byte*>(is_plain ? std::malloc(whole) : std::aligned_alloc(room, whole));
  if (start == nullptr) return nullptr;
  std::memcpy(start, &size, sizeof(size));
  live += static_cast<std::int64_t>(size);
  total += size;
  if (live > peak) peak = live;
  return start + room;
}

void* allocate_or_throw(std::size_t size, std::size_t alignment) {
  void* const made = allocate(size, alignment);
  if (made == nullptr) throw std::bad_alloc();
  return made;
}

void release(void* made, std::size_t alignment) noexcept {
  if (made == nullptr) return;
  std::byte* const start = static_cast<std::byte*>(made) - room_for_size(alignment);
  std::size_t size = 0;
  std::memcpy(&size, start, sizeof(size));
  live -= static_cast<std::int64_t>(size);
  std::free(start);
}

#endif

}  // namespace

#if !NIBBLE_TEST_IS_SANITIZED

// The other forms call these, by the standard.
void* operator new(std::size_t size) { return allocate_or_throw(size, 1); }
void operator delete(void* made) noexcept { release(made, 1); }
void operator delete(void* made, std::size_t) noexcept { release(made, 1); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* made, std::align_val_t alignment) noexcept {
  release(made, static_cast<std::size_t>(alignment));
}
void operator delete(void* made, std::size_t, std::align_val_t alignment) noexcept {
  release(made, static_cast<std::size_t>(alignment));
}

#endif

namespace nibble_test {

std::int64_t memory_meter::live_bytes() noexcept { return live; }
std::int64_t memory_meter::peak_bytes() noexcept { return peak; }
std::uint64_t memory_meter::total_bytes() noexcept { return total; }
void memory_meter::reset_peak() noexcept { peak = live; }

}  // namespace nibble_test

TEST_CASE("the meter sees what is allocated, and its peak after it is gone", "[memory_meter]") {
  if (nibble_test::is_sanitized) return;
  struct alignas(64) wide {
    std::byte bytes[64];
  };
  const auto spent = nibble_test::expense_of([] {
    std::vector<char> first(1'000'000);
    first = std::vector<char>(500'000);
    const std::vector<wide> second(1'000);
    const auto third = std::make_unique<int[]>(100);
    if (second.size() + static_cast<std::size_t>(third[0]) != 1'000) throw std::bad_alloc();
  });
  CHECK(spent.peak_bytes == 1'500'000);
  CHECK(spent.total_bytes == 1'500'000 + 64'000 + 100 * sizeof(int));
  const auto later = nibble_test::expense_of([] { const std::vector<wide> alone(1'000); });
  CHECK(later.peak_bytes == 64'000);
  CHECK(later.total_bytes == 64'000);
}
