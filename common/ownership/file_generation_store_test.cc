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
    EXPECT_EQ(store->Read("ledger").status().code(), absl::StatusCode::kNotFound);
    ASSERT_TRUE(store->Write("ledger", {7, false, "first"}).ok());
    ASSERT_TRUE(store->Write("ledger", {8, true, std::string("b\0c", 3)}).ok());
  }
  auto store = *FileGenerationStore::Open(directory_);
  const auto record = store->Read("ledger");
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ(record->generation, 8);
  EXPECT_TRUE(record->ownership_moved);
  EXPECT_EQ(record->detail, std::string("b\0c", 3));
  EXPECT_EQ(*store->List(), std::vector<std::string>{"ledger"});
}

TEST_F(FileGenerationStoreTest, ErasesAndToleratesErasingTwice) {
  auto store = *FileGenerationStore::Open(directory_);
  ASSERT_TRUE(store->Write("ledger", {1, false, ""}).ok());
  EXPECT_TRUE(store->Erase("ledger").ok());
  EXPECT_TRUE(store->Erase("ledger").ok());
  EXPECT_TRUE(store->List()->empty());
}

TEST_F(FileGenerationStoreTest, RefusesASecondOwnerOfTheDirectory) {
  auto store = *FileGenerationStore::Open(directory_);
  EXPECT_EQ(FileGenerationStore::Open(directory_).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(FileGenerationStoreTest, SaysThatARecordIsDamagedAndAssumesNothing) {
  auto store = *FileGenerationStore::Open(directory_);
  std::ofstream(directory_ + "/ledger.generation") << "generation: 9";  // The name is missing: cut short.
  EXPECT_EQ(store->Read("ledger").status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(FileGenerationStoreTest, ACrashWhileWritingLeavesTheOldRecord) {
  auto store = *FileGenerationStore::Open(directory_);
  ASSERT_TRUE(store->Write("ledger", {3, false, ""}).ok());
  std::ofstream(directory_ + "/ledger.generation.new") << "generation: 4";
  EXPECT_EQ(store->Read("ledger")->generation, 3);
  EXPECT_EQ(store->List()->size(), 1);
}

}  // namespace
}  // namespace romulus
