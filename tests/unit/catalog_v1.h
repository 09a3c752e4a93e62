/* SPDX-License-Identifier: GPL-3.0-or-later */
/* catalog_v1.h - what a catalog of version 1 holds, as `.dump` of sqlite3
 * shows it.  It was made by the last pfs that wrote that version: never edit
 * it.  Image 1 "disk" at epoch 2 is ident(1) and has zones 0 and 7; image 2
 * has lost its name; generations below 1001 are used. */
#ifndef PFS_TEST_CATALOG_V1_H
#define PFS_TEST_CATALOG_V1_H

/* clang-format off */
static const char catalog_v1[] =
	"PRAGMA application_id=1348891459;\n"
	"PRAGMA user_version=1;\n"
	"BEGIN TRANSACTION;\n"
	"CREATE TABLE images(\n"
	"  id INTEGER PRIMARY KEY,\n"
	"  epoch INTEGER NOT NULL,\n"
	"  name BLOB,\n"
	"  fs_id BLOB,\n"
	"  ino INTEGER NOT NULL,\n"
	"  size INTEGER NOT NULL,\n"
	"  btime INTEGER,\n"
	"  mtime INTEGER NOT NULL,\n"
	"  ctime INTEGER NOT NULL,\n"
	"  recorded INTEGER NOT NULL,\n"
	"  sum INTEGER NOT NULL\n"
	") STRICT;\n"
	"INSERT INTO \"images\" VALUES(1,2,X'6469736B',"
	"X'01020304000000000000000000000000',1001,1048576,10,21,31,"
	"60000000000,-2186645567569102081);\n"
	"INSERT INTO \"images\" VALUES(2,2,NULL,"
	"X'01020304000000000000000000000000',1002,2097152,10,22,32,"
	"60000000000,3537790185655138997);\n"
	"CREATE TABLE meta(\n"
	"  one INTEGER PRIMARY KEY CHECK(one = 1),\n"
	"  uuid BLOB NOT NULL,\n"
	"  next_gen INTEGER NOT NULL,\n"
	"  next_image INTEGER NOT NULL,\n"
	"  n_durable INTEGER NOT NULL,\n"
	"  sum INTEGER NOT NULL\n"
	") STRICT;\n"
	"INSERT INTO \"meta\" VALUES(1,"
	"X'A44FE328F59F4E22BE7A46C2946813FB',1001,3,5,"
	"5965561499630587943);\n"
	"CREATE TABLE segments(\n"
	"  one INTEGER PRIMARY KEY CHECK(one = 1),\n"
	"  blob BLOB NOT NULL,\n"
	"  sum INTEGER NOT NULL\n"
	") STRICT;\n"
	"INSERT INTO \"segments\" VALUES(1,X'7365676D656E7473',"
	"-3472165122886614326);\n"
	"CREATE TABLE zones(\n"
	"  image INTEGER NOT NULL REFERENCES images(id) ON DELETE CASCADE,\n"
	"  zone INTEGER NOT NULL,\n"
	"  epoch INTEGER NOT NULL,\n"
	"  n_chunks INTEGER NOT NULL,\n"
	"  sum INTEGER NOT NULL,\n"
	"  blob BLOB NOT NULL,\n"
	"  PRIMARY KEY(image, zone)\n"
	") STRICT;\n"
	"INSERT INTO \"zones\" VALUES(1,0,2,3,6706436409382109710,"
	"X'7A6F6E652030');\n"
	"INSERT INTO \"zones\" VALUES(1,7,2,4,980546086873206342,"
	"X'7A6F6E652037');\n"
	"CREATE UNIQUE INDEX images_name ON images(name)\n"
	"  WHERE name IS NOT NULL;\n"
	"CREATE INDEX images_nameless ON images(id) WHERE name IS NULL;\n"
	"CREATE INDEX images_ino ON images(ino) WHERE name IS NOT NULL;\n"
	"COMMIT;\n";
/* clang-format on */

#endif
