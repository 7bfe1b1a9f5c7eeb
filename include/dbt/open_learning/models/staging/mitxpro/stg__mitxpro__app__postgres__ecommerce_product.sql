select
  id as product_id,
  content_type_id as contenttype_id,
  object_id as product_object_id,
  is_active as product_is_active,
  is_private as product_is_private,
  {{ utc('created_on') }} as product_created_on,
  {{ utc('updated_on') }} as product_updated_on
from {{ source('ol_warehouse_raw_data', 'raw__xpro__app__postgres__ecommerce_product') }}
