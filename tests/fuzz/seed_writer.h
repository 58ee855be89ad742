// Writes seeds into the folders of their targets.
// Source    tests/fuzz/README.md.
#pragma once
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace ferry {

class seed_writer {
 public:
  explicit seed_writer(std::filesystem::path folder) : folder_(std::move(folder)) {}

  void write(const std::string& target, const std::string& name,
             const std::vector<std::byte>& seed) {
    std::error_code ignored;
    std::filesystem::create_directories(folder_ / target, ignored);
    std::ofstream file(folder_ / target / name, std::ios::binary);
    file.write(reinterpret_cast<const char*>(seed.data()),
               static_cast<std::streamsize>(seed.size()));
    good_ = good_ && file.flush().good();
  }
  bool good() const { return good_; }

 private:
  std::filesystem::path folder_;
  bool good_ = true;
};

// Those of the channels: channel_seeds.cc.
void write_channels(seed_writer& to);

}  // namespace ferry
