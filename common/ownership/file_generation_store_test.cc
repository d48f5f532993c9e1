#include "common/ownership/file_generation_store.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace romulus {
namespace {

class FileGenerationStoreTest : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::remove_all(directory_); }

  const std::string directory_ = testing::TempDir() + "generations";
};

TEST_F(FileGenerationStoreTest, KeepsRecordsOverARestart) {
  {
    auto store = *FileGenerationStore::Open(directory_);
    EXPECT_EQ(store->Read("protections/ledger").status().code(), absl::StatusCode::kNotFound);
    ASSERT_TRUE(store->Write("protections/ledger", {7, false, "first"}).ok());
    ASSERT_TRUE(store->Write("protections/ledger", {8, true, std::string("b\0c", 3)}).ok());
  }
  auto store = *FileGenerationStore::Open(directory_);
  const auto record = store->Read("protections/ledger");
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ(record->generation, 8);
  EXPECT_TRUE(record->ownership_moved);
  EXPECT_EQ(record->detail, std::string("b\0c", 3));
  EXPECT_EQ(*store->List(), std::vector<std::string>{"protections/ledger"});
}

TEST_F(FileGenerationStoreTest, ErasesAndToleratesErasingTwice) {
  auto store = *FileGenerationStore::Open(directory_);
  ASSERT_TRUE(store->Write("protections/ledger", {1, false, ""}).ok());
  EXPECT_TRUE(store->Erase("protections/ledger").ok());
  EXPECT_TRUE(store->Erase("protections/ledger").ok());
  EXPECT_TRUE(store->List()->empty());
}

TEST_F(FileGenerationStoreTest, RefusesASecondOwnerOfTheDirectory) {
  auto store = *FileGenerationStore::Open(directory_);
  EXPECT_EQ(FileGenerationStore::Open(directory_).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(FileGenerationStoreTest, SaysThatARecordIsDamagedAndAssumesNothing) {
  auto store = *FileGenerationStore::Open(directory_);
  std::ofstream(directory_ + "/protections.ledger.generation") << "generation: 9";  // The name is missing: cut short.
  EXPECT_EQ(store->Read("protections/ledger").status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(FileGenerationStoreTest, ACrashWhileWritingLeavesTheOldRecord) {
  auto store = *FileGenerationStore::Open(directory_);
  ASSERT_TRUE(store->Write("protections/ledger", {3, false, ""}).ok());
  std::ofstream(directory_ + "/protections.ledger.generation.new") << "generation: 4";
  EXPECT_EQ(store->Read("protections/ledger")->generation, 3);
  EXPECT_EQ(store->List()->size(), 1);
}

}  // namespace
}  // namespace romulus
