/* SPDX-License-Identifier: MIT */
/*
 * Making, sealing and mapping the memory of a lane. The ring operations are in lane.h, inline.
 *
 * Thread: any; no state.
 */
#include "transport/lane.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_SIZE     4096U
#define HUGEPAGE_SIZE (2U << 20)

void llr_lane_shape_init(struct llr_lane_shape *shape, uint32_t message_max, bool hugepages)
{
	uint32_t capacity = hugepages ? HUGEPAGE_SIZE : LLR_LANE_CAPACITY_MIN;

	LLR_ASSERT(message_max >= 1);
	LLR_ASSERT(message_max <= LLR_PAYLOAD_SIZE_MAX);
	if (message_max > LLR_PAYLOAD_SIZE_DEFAULT) {
		/* At most 4 x (16 MiB + 4 KiB), rounded up: 128 MiB. */
		while (capacity < 4 * (message_max + LLR_LANE_OVERHEAD))
			capacity *= 2;
	}
	*shape = (struct llr_lane_shape){
		.message_max = message_max,
		.frame_max = message_max + LLR_LANE_OVERHEAD,
		.control_size = hugepages ? HUGEPAGE_SIZE : PAGE_SIZE,
		.capacity = capacity,
	};
	LLR_ASSERT(llr_is_power_of_two(shape->capacity));
	LLR_ASSERT(llr_ring_need(shape->frame_max) * 3 <= shape->capacity);
}

bool llr_lane_shape_is_good(const struct llr_lane_shape *shape)
{
	struct llr_lane_shape same;

	if (shape->message_max < 1 || shape->message_max > LLR_PAYLOAD_SIZE_MAX)
		return false;
	llr_lane_shape_init(&same, shape->message_max, shape->control_size == HUGEPAGE_SIZE);
	return memcmp(&same, shape, sizeof(same)) == 0;
}

int llr_lane_memfd(const char *name, size_t size, bool hugepages)
{
	unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int fd = memfd_create(name, hugepages ? flags | MFD_HUGETLB | MFD_HUGE_2MB : flags);
	int code;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) == 0)
		return fd;
	code = -errno;
	(void)close(fd);
	return code;
}

int llr_lane_map(struct llr_lane_memory *memory, int fd, const struct llr_lane_shape *shape,
		 enum llr_lane_access access)
{
	int protection = access == LLR_LANE_WRITE ? PROT_READ | PROT_WRITE : PROT_READ;
	size_t file_size = llr_lane_file_size(shape);
	size_t size = file_size + shape->capacity;
	size_t align = shape->control_size; /* hugepages map at multiples of their own size */
	uint8_t *area;
	uint8_t *page;
	int code;

	/* Takes the addresses first, so that nobody else gets between the two. */
	area = mmap(NULL, size + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		    0);
	if (area == MAP_FAILED)
		return -errno;
	page = area + (align - ((uintptr_t)area & (align - 1)));
	if (mmap(page, file_size, protection, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED ||
	    mmap(page + file_size, shape->capacity, protection, MAP_SHARED | MAP_FIXED, fd,
		 (off_t)align) == MAP_FAILED) {
		code = -errno;
		(void)munmap(area, size + align);
		return code;
	}
	if (page > area)
		(void)munmap(area, (size_t)(page - area));
	if (page + size < area + size + align)
		(void)munmap(page + size, (size_t)(area + align - page));
	*memory = (struct llr_lane_memory){.page = page, .ring = page + align, .size = size};
	return 0;
}

void llr_lane_unmap(struct llr_lane_memory *memory)
{
	if (memory->page != NULL)
		LLR_ASSERT(munmap(memory->page, memory->size) == 0);
	*memory = (struct llr_lane_memory){0};
}

int llr_lane_seal(int fd, enum llr_lane_access access)
{
	int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

	if (access == LLR_LANE_READ)
		seals |= F_SEAL_FUTURE_WRITE;
	return fcntl(fd, F_ADD_SEALS, seals) == 0 ? 0 : -errno;
}

bool llr_lane_is_sealed(int fd, size_t size)
{
	struct stat status;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || fstat(fd, &status) != 0)
		return false;
	return status.st_size >= 0 && (uint64_t)status.st_size == size;
}
