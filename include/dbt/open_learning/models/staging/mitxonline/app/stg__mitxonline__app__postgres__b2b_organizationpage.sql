select
  page_ptr_id as organization_id,
  org_key as organization_key,
  name as organization_name,
  description as organization_description
from {{ source('ol_warehouse_raw_data', 'raw__mitxonline__app__postgres__b2b_organizationpage') }}
