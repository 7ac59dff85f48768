//! Whose a part of the ledger is.

/// A statement that gives a new table to the owner of `like`, and the same rights to everybody else: a server need not be the
/// one who makes it.
pub(crate) fn rights_like(table: &str, like: &str) -> String {
    format!(
        "DO $$ DECLARE held record; BEGIN \
         FOR held IN SELECT privilege_type AS what, is_grantable AS further, \
         CASE grantee WHEN 0 THEN 'PUBLIC' ELSE CAST(CAST(grantee AS regrole) AS text) END AS whose \
         FROM pg_class, aclexplode(relacl) WHERE pg_class.oid = CAST('{like}' AS regclass) AND grantee <> relowner LOOP \
         EXECUTE format('GRANT %s ON {table} TO %s', held.what, held.whose) \
         || CASE WHEN held.further THEN ' WITH GRANT OPTION' ELSE '' END; \
         END LOOP; \
         FOR held IN SELECT CAST(CAST(relowner AS regrole) AS text) AS owner FROM pg_class \
         WHERE oid = CAST('{like}' AS regclass) AND relowner <> CAST(current_user AS regrole) LOOP \
         EXECUTE format('ALTER TABLE {table} OWNER TO %s', held.owner); \
         END LOOP; \
         END $$"
    )
}
