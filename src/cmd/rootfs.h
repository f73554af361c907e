/* SPDX-License-Identifier: MIT */
/* Which device of a disk image is Linux's root, when the image leaves no doubt. */
#ifndef CMD_ROOTFS_H
#define CMD_ROOTFS_H

/*
 * 0: the whole disk, as a file system begins where the disk does; 1 and up: that partition, the only one that can be a Linux
 * root (GPT: of type "Linux root x86-64", else "Linux filesystem"; MBR: 0x83, primary); -1: there is no telling. The image is
 * hostile; it is only read.
 */
int rootfs_find(int fd);

#endif
